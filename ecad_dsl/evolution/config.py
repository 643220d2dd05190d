"""``config.toml`` of a run folder: everything that is needed to repeat the run, for people and for ``--resume``."""

from __future__ import annotations

import json
import platform
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.store import Change
from ecad_dsl.files import read_start, write_text
from ecad_dsl.models import ModelSpec
from ecad_dsl.models.toml import to_toml
from ecad_dsl.quality.prompts import PromptSet

NAME = "config.toml"
MAX_BYTES = 64 << 20

_HEADER = """\
# What this run was started with. To go on with it: ecad evolve --resume FOLDER
# Changing anything here changes nothing of the run, which keeps its settings in run.sqlite and refuses others.
"""


def versions() -> dict[str, str]:
    """Of everything that figures may depend on. Another ecad, pymoo or numpy may search differently."""
    packages = ("ecad", "pymoo", "numpy", "torch", "diffusers", "transformers")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def write_config(
    folder: Path,
    settings: Mapping[str, Any],
    spec: ModelSpec,
    prompt_sets: Iterable[PromptSet],
    changes: Iterable[Change] = (),
) -> None:
    """Write the file of a run, or write it anew when settings have changed."""
    tables: dict[str, dict[str, Any]] = {"search": {}, "problem": {}, "versions": {}}
    for name, value in settings.items():
        table, key = _place(name)
        tables[table][key] = value
    lines = [_HEADER]
    for title, table_of in tables.items():
        lines += [f"[{title}]", *_lines(table_of), ""]
    for change in changes:
        lines += ["[[changes]]", *_lines(vars(change)), ""]
    for prompts in prompt_sets:
        lines += [f"[prompts.{_key(prompts.name)}]", f"sha256 = {_toml(prompts.sha256)}", "prompts = ["]
        pairs = zip(prompts.prompts, prompts.seeds, strict=True)
        lines += [f"    {{ prompt = {_toml(prompt)}, seed = {seed} }}," for prompt, seed in pairs]
        lines += ["]", ""]
    lines += ["[model]", f"name = {_toml(spec.name)}", *_spec_lines(spec)]
    text = "\n".join(lines) + "\n"
    path = folder / NAME
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def read_config(folder: Path) -> dict[str, Any]:
    """The tables of a run's file.

    Raises:
        EcadError: there is none, or it is no longer TOML.
    """
    path = folder / NAME
    if not path.exists():
        raise EcadError(f"{folder} holds no run ({NAME} is missing); start one with: ecad evolve --run {folder}")
    try:
        return tomllib.loads(read_start(path, MAX_BYTES).decode())
    except ValueError as error:
        raise EcadError(f"cannot read {path}: {error}; put it right, or start another run") from error


def refuse_older(folder: Path, search: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of an ecad that traded one quality against MACs, and nothing else.

    Raises:
        EcadError: ``search``, its settings, say that it is one.
    """
    if "objective" in search:
        raise EcadError(
            f"the run in {folder} was started by an older ecad, with objective {search['objective']} and not yet with"
            " objectives; go on with it in that version, or start another run (`ecad runs show` tells what it found)"
        )


def _place(name: str) -> tuple[str, str]:
    """The table and key of a setting's name in the store."""
    for prefix, table in (("problem ", "problem"), ("version of ", "versions")):
        if name.startswith(prefix):
            return table, name.removeprefix(prefix)
    return "search", name


def _spec_lines(spec: ModelSpec) -> list[str]:
    try:
        text = to_toml(spec)
    except EcadError:  # a configuration that TOML has no word for: the name must do
        return []
    return [f"spec = {_toml(text)}"] if "'''" in text else ["spec = '''", f"{text}'''"]


def _lines(table: Mapping[str, Any]) -> list[str]:
    """TOML has no word for None: what is None is left out."""
    return [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if value is not None]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: str | float | Sequence[Any]) -> str:
    # Texts, numbers and lists are written as in JSON, but for the delete character, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
