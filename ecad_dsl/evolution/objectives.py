"""What schedules may be bred for: the quantities that tell one from another, and how each of them is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.hypervolume import Point

Source = Literal["pictures", "clock", "schedule", "program"]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Objective:
    """A quantity of a schedule. All but the number of rules come from the problem's method of the same name."""

    name: str
    heading: str
    """Of a column, with the unit that the numbers are printed in."""
    meaning: str
    source: Source
    """What tells it: pictures, a number for each prompt; the clock; or, without measuring, the schedule or program."""
    more_is_better: bool = False
    unit: float = 1
    digits: int = 3

    @property
    def is_measured(self) -> bool:
        return self.source in ("pictures", "clock")

    def text(self, value: float) -> str:
        """As it is printed under the heading."""
        return f"{value / self.unit:,.{self.digits}f}"

    def minimised(self, value: float) -> float:
        return -value if self.more_is_better else value


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("reward", "reward", "mean reward of the pictures", "pictures", more_is_better=True),
        Objective("fidelity", "dB", "likeness to the uncached", "pictures", more_is_better=True, digits=1),
        Objective("latency", "time %", "time of a picture, share of that uncached", "clock", unit=0.01, digits=1),
        Objective("macs", "GMACs", "multiply-accumulates of a picture, as the paper counts", "schedule", unit=1e9),
        Objective("macs_full", "full GMACs", "the same with the products of attention", "schedule", unit=1e9),
        Objective("cache_bytes", "MiB", "most that is kept at any instant", "schedule", unit=2**20, digits=2),
        Objective("rules", "rules", "length of the program", "program", digits=0),
    )
}  # fmt: skip
"""In the order in which they are always told."""

QUALITIES = ("reward", "fidelity")
"""One of these is always among the objectives; the first that is known tells how good a schedule is."""


def chosen(objectives: str | Iterable[str]) -> tuple[str, ...]:
    """The names of objectives in their order. A quality alone is traded against ``macs``.

    Args:
        objectives: names, or these with commas between.

    Raises:
        EcadError: one is unknown or named twice, or neither reward nor fidelity is among them.
    """
    names = [name.strip() for name in objectives.split(",")] if isinstance(objectives, str) else [*objectives]
    for name in names:
        if name not in OBJECTIVES:
            raise EcadError(f"there is no objective {name!r}; there are: {', '.join(OBJECTIVES)}")
        if names.count(name) > 1:
            raise EcadError(f"the objective {name} is named twice; name each once, of: {', '.join(OBJECTIVES)}")
    if not {*QUALITIES} & {*names}:
        raise EcadError("name reward or fidelity among the objectives: by the others alone, spoilt pictures are best")
    return tuple(name for name in OBJECTIVES if name in names or (name == "macs" and len(names) == 1))


def with_rewards(objectives: Sequence[str]) -> tuple[str, ...]:
    """What a search for fidelity ends with, once it has rewards: these in place of fidelity."""
    return tuple("reward" if name == "fidelity" else name for name in objectives)


def check_use(objectives: Sequence[str], genome: str, workers: int) -> None:
    """Refuse what objectives do not go together with.

    Raises:
        EcadError: bits are to be bred for few rules; or more processes are to measure time than there are GPUs.
    """
    if "rules" in objectives and genome == "bits":
        raise EcadError("bits have no rules to be few; leave out genome bits, or the objective rules")
    if "latency" in objectives and workers > 1:
        import torch

        if workers > torch.cuda.device_count():
            raise EcadError(
                f"{workers} workers would disturb each other's timing; measure latency with 1, or one for each GPU"
            )


def point(values: Mapping[str, float], objectives: Sequence[str]) -> Point:
    """The values of these objectives, each the less the better."""
    return tuple(OBJECTIVES[name].minimised(values[name]) for name in objectives)


def with_found(front: Sequence[Found], new: Found, at: Callable[[Found], Point]) -> tuple[Found, ...]:
    """A front with one more, unless one on it is as good in everything; less those that are then beaten.

    Args:
        at: where each lies, less being better.
    """
    here = at(new)
    if any(_is_as_good(at(other), here) for other in front):
        return tuple(front)
    return (*(other for other in front if not _is_as_good(here, at(other))), new)


def _is_as_good(one: Point, other: Point) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
