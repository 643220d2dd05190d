"""A benchmark's plan: which schedules on which model, and on which prompts each is measured by what. A TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from ecad_dsl.errors import EcadError
from ecad_dsl.files import read_start
from ecad_dsl.quality.metrics import METRICS

NONE = "none"
"""The row that every table begins with, and what the others are compared with."""
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A row: a schedule of the library or a file, and how it is made to fit."""

    schedule: str
    name: str
    """What the table calls it."""
    steps: int | None = None
    """For how many steps it runs; the plan's if None."""
    retarget: bool = False
    """Rewrite it for the plan's model and steps, where it was written for others."""


@dataclass(frozen=True)
class PictureSet:
    """Prompts whose pictures are measured."""

    name: str
    prompts: str
    """A file of prompts, or ``reference`` for the reference model's held-out captions."""
    metrics: tuple[str, ...]
    count: int | None = None
    """So many of the prompts, drawn by ``seed``; all if None."""
    each: int = 1
    """Pictures of every prompt."""
    seed: int = 0
    """Of the first picture's noise; the next ones count up."""
    reference: Path | None = None
    """Statistics of real pictures, for ``fid``."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the figures in a table."""
        return tuple(f"{self.name} {metric}" for metric in self.metrics)


@dataclass(frozen=True)
class Plan:
    """What ``ecad bench --plan`` does."""

    title: str
    model: str
    rows: tuple[Wanted, ...]
    """The first is ``none``."""
    sets: tuple[PictureSet, ...] = ()
    steps: int | None = None
    """The model's own if None."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str | None = None
    offload: Literal["none", "model", "group", "sequential"] = "none"
    quantize: Literal["none", "bnb-int8", "bnb-nf4", "torchao-int8"] = "none"
    embeddings: Path | None = None
    batch: int = 8
    """Pictures drawn together."""
    rounds: int = 5
    """Pairs of timings for each row; 0 for none."""
    timing_batch: int = 1
    """Pictures in a run that is timed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the pipeline's call beside the model's own settings, such as ``height``."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Of metrics, by name: a file, a folder or a name on the hub."""


def plan_names() -> list[str]:
    """Plans that ship."""
    return sorted(file.name.removesuffix(".toml") for file in _shipped().iterdir() if file.name.endswith(".toml"))


def read_plan(source: str | Path, settings: Mapping[str, Any] | None = None, schedules: Sequence[str] = ()) -> Plan:
    """A plan that ships, by its name, or one in a file.

    Args:
        source: ``paper-pixart``, or the path of a .toml file.
        settings: keys that take the place of the file's.
        schedules: names or files of rows beside those of the plan.

    Raises:
        EcadError: there is no such plan, or it has mistakes, which the message names.
    """
    name = str(source)
    if name in plan_names() and not Path(name).is_file():
        text = (_shipped() / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        text = read_start(name, _MAX_BYTES).decode("utf-8", errors="replace")
    else:
        raise EcadError(f"there is no plan {name!r}; name a .toml file, or one of {', '.join(plan_names())}")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EcadError(f"{name} is not TOML: {error}") from error
    content |= settings or {}
    if schedules:
        content["schedules"] = [*content.get("schedules", ()), *schedules]
    return _Reader(name).plan(content)


def _shipped() -> Any:
    return resources.files("ecad_dsl.quality") / "plans"


_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "title": str,
    "model": str,
    "schedules": list,
    "sets": list,
    "steps": int,
    "dtype": str,
    "device": str,
    "offload": str,
    "quantize": str,
    "embeddings": str,
    "batch": int,
    "rounds": int,
    "timing_batch": int,
    "options": dict,
    "weights": dict,
}
_WORDS: Mapping[str, tuple[str, ...]] = {
    "dtype": ("float32", "bfloat16", "float16"),
    "offload": ("none", "model", "group", "sequential"),
    "quantize": ("none", "bnb-int8", "bnb-nf4", "torchao-int8"),
}
_ROW_KEYS: Mapping[str, type] = {"schedule": str, "name": str, "steps": int, "retarget": bool}
_SET_KEYS: Mapping[str, type] = {
    "name": str, "prompts": str, "metrics": list, "count": int, "each": int, "seed": int, "reference": str,
}  # fmt: skip


class _Reader:
    """Makes a plan of a file's content; a mistake is named with the place where it stands."""

    def __init__(self, name: str) -> None:
        self._name = name

    def plan(self, content: Mapping[str, Any]) -> Plan:
        self._check(content, _KEYS, "the plan")
        if "model" not in content:
            raise self._error('the plan names no model, such as model = "pixart-alpha"')
        rows = [self._row(entry) for entry in content.get("schedules", ())]
        sets = [self._set(entry) for entry in content.get("sets", ())]
        self._once("schedules", [row.name for row in rows])
        self._once("sets", [each.name for each in sets])
        plain = [row for row in rows if row.name == NONE] or [Wanted(NONE, NONE)]
        own = {key: value for key, value in content.items() if key not in {"schedules", "sets", "embeddings"}}
        for key in ("batch", "timing_batch", "steps"):
            if own.get(key, 1) < 1:
                raise self._error(f"{key} is at least 1, not {own[key]}")
        for key, words in _WORDS.items():
            if own.get(key, words[0]) not in words:
                raise self._error(f"{key} is one of {', '.join(words)}, not {own[key]!r}")
        return Plan(
            **{"title": Path(self._name).stem, **own},
            rows=(*plain, *(row for row in rows if row.name != NONE)),
            sets=tuple(sets),
            embeddings=Path(content["embeddings"]) if "embeddings" in content else None,
        )

    def _row(self, entry: Any) -> Wanted:
        if isinstance(entry, str):
            return Wanted(entry, Path(entry).stem)
        self._check(entry, _ROW_KEYS, "a schedule")
        if "schedule" not in entry:
            raise self._error(f"a schedule is a name, a file, or a table with the key schedule: {dict(entry)}")
        named = f"{Path(entry['schedule']).stem}, {entry['steps']} steps" if "steps" in entry else None
        return Wanted(**{"name": named or Path(entry["schedule"]).stem, **entry})

    def _set(self, entry: Any) -> PictureSet:
        self._check(entry, _SET_KEYS, "a set")
        if missing := [key for key in ("name", "prompts", "metrics") if key not in entry]:
            raise self._error(f"a set says name, prompts and metrics; {missing[0]} is missing")
        if unknown := [metric for metric in entry["metrics"] if metric not in METRICS]:
            raise self._error(f"unknown metric {unknown[0]!r}; there are: {', '.join(METRICS)}")
        if "fid" in entry["metrics"] and "reference" not in entry:
            raise self._error(
                f"fid of the set {entry['name']} needs statistics of real pictures (`ecad metrics stats`):"
                ' reference = "real.npz"'
            )
        reference = Path(entry["reference"]) if "reference" in entry else None
        return PictureSet(**{**entry, "metrics": tuple(entry["metrics"]), "reference": reference})

    def _check(self, entry: Any, keys: Mapping[str, type | tuple[type, ...]], what: str) -> None:
        if not isinstance(entry, Mapping):
            raise self._error(f"{what} is a table, not {entry!r}")
        for key, value in entry.items():
            if key not in keys:
                raise self._error(f"{what} has no key {key!r}; it has {', '.join(keys)}")
            kind = keys[key]
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise self._error(f"{key} of {what} is of the wrong kind: {value!r}")

    def _once(self, what: str, names: Sequence[str]) -> None:
        if twice := {name for name in names if names.count(name) > 1}:
            raise self._error(f"two {what} are called {twice.pop()!r}; give one another name")

    def _error(self, message: str) -> EcadError:
        return EcadError(f"{self._name}: {message}")
