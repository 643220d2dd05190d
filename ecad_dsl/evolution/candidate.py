"""What a search has found: measured schedules with their programs, as the files of a front tell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecad_dsl.evolution.objectives import OBJECTIVES, QUALITIES
from ecad_dsl.files import write_text
from ecad_dsl.language.tree import Meta, Model, Program, Steps
from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.schedule import Schedule, format
from ecad_dsl.schedule.decompile import decompile
from ecad_dsl.schedule.simplify import simplify

EFFORT = 0.1
"""Of writing programs shorter: there may be many of them."""


@dataclass(frozen=True)
class Judgement:
    """Mean reward or fidelity on prompts that the search has not seen, with its 95 % interval (bootstrap over them)."""

    mean: float
    low: float
    high: float
    prompts: int
    quantity: str = "reward"


@dataclass(frozen=True)
class Candidate:
    """A measured schedule."""

    program: Program
    schedule: Schedule
    objectives: Mapping[str, float]
    """What it is chosen by, and what else is known of it without measuring, by the names of ``OBJECTIVES``.

    What was measured is flattering: it is of the calibration prompts, and the best of many was taken.
    """
    share: float
    """Of the MACs of recomputing everything, at every step that the search was for."""
    generation: int
    """0: one of the first population, which people wrote."""
    edit: str
    """What made it of its parents, or its name in the first population."""
    held_out: Judgement | None = None
    """None until the end of the search, or if the problem has no held-out prompts."""

    @property
    def macs(self) -> int:
        return int(self.objectives["macs"])

    @property
    def reward(self) -> float | None:
        """None until it is measured, at the end of a search for fidelity."""
        return self.objectives.get("reward")

    @property
    def fidelity(self) -> float | None:
        return self.objectives.get("fidelity")

    @property
    def quality(self) -> float:
        """Its reward, or its fidelity where there is no reward."""
        return next(self.objectives[name] for name in QUALITIES if name in self.objectives)

    def by(self, program: Program) -> Candidate:
        """The same schedule by another program."""
        return replace(self, program=program, objectives={**self.objectives, "rules": len(program.rules)})


def judgement(quantity: str, values: Sequence[float]) -> Judgement | None:
    """The verdict of these values, each of another prompt; None without any: it failed."""
    array = np.array(values)
    return Judgement(float(array.mean()), *interval(array), len(array), quantity) if values else None


def simplified(program: Program, schedule: Schedule) -> Program:
    """A program for the same schedule that is no longer, and as short as is quickly found."""
    return _without_target(simplify(program, schedule.spec, schedule.steps, effort=EFFORT))


def decompiled(schedule: Schedule) -> Program:
    """A short program for a schedule that was not bred as one."""
    return _without_target(decompile(schedule, effort=EFFORT))


def _without_target(program: Program) -> Program:
    """Model and steps are for the file to say."""
    return replace(program, statements=tuple(s for s in program.statements if not isinstance(s, (Model, Steps))))


def published(candidate: Candidate) -> Program:
    """The candidate's program with its model, steps and figures written on top."""
    origin = f"evolved in generation {candidate.generation}" if candidate.generation else candidate.edit
    header = (
        Model(candidate.schedule.spec.name),
        Steps(candidate.schedule.steps),
        Meta("title", f"{origin}: {candidate.share:.1%} of the MACs"),
        *_figures(candidate.objectives),
        *([] if candidate.held_out is None else _held_out_lines(candidate.held_out)),
    )
    return replace(candidate.program, statements=(*header, *candidate.program.statements))


def _figures(values: Mapping[str, float]) -> Iterator[Meta]:
    for name, objective in OBJECTIVES.items():
        if name in values and objective.source == "schedule":
            yield Meta(name, int(values[name]))
    for name, objective in OBJECTIVES.items():
        if name in values and objective.is_measured:
            prefix = "calibration_" if objective.source == "pictures" else ""
            yield Meta(f"{prefix}{name}", round(values[name], 4))


def _held_out_lines(judgement: Judgement) -> Iterator[Meta]:
    yield Meta(f"held_out_{judgement.quantity}", round(judgement.mean, 4))
    yield Meta("held_out_low", round(judgement.low, 4))
    yield Meta("held_out_high", round(judgement.high, 4))
    yield Meta("held_out_prompts", judgement.prompts)


_OWN_NAME = re.compile(r"macs-[0-9]{2,3}\.[0-9]-[0-9a-f]{4}\.ecad")


def file_name(candidate: Candidate) -> str:
    """``macs-NN.N-KEY.ecad``: percent of the MACs of recomputing everything, and the start of the schedule's key."""
    return f"macs-{100 * candidate.share:04.1f}-{candidate.schedule.key[:4]}.ecad"


def write_front(folder: Path, front: Iterable[Candidate]) -> None:
    """Write the front's programs in place of an older front's."""
    names = set()
    for candidate in front:
        names.add(file_name(candidate))
        write_text(folder / file_name(candidate), format(published(candidate)))
    for old in folder.glob("macs-*.ecad"):
        if old.name not in names and _OWN_NAME.fullmatch(old.name):
            old.unlink()
