"""Measuring candidates: each number is in the store as soon as there is one, and none is measured twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.bits import BitGenome
from ecad_dsl.evolution.genome import Genome
from ecad_dsl.evolution.objectives import OBJECTIVES
from ecad_dsl.evolution.problem import Problem, prompted
from ecad_dsl.evolution.store import CALIBRATION, Evaluation, Measurements, RunStore
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.schedule import Schedule, format
from ecad_dsl.workers import Evaluator, Outcome


@dataclass(frozen=True)
class Part:
    """Some prompts of a set, by their positions in it."""

    prompt_set: str
    positions: tuple[int, ...]


def parts(prompts: PromptSet, count: int) -> list[Part]:
    """So many parts of the calibration prompts, of equal size but for one prompt, every prompt in one of them."""
    return [Part(CALIBRATION, tuple(range(start, len(prompts), count))) for start in range(count)]


@dataclass(frozen=True)
class Task:
    """A schedule to be measured: on the problem's own prompts, or on a part of a set."""

    quantities: tuple[str, ...]
    schedule: Schedule
    part: Part | None = None


def asked_of(quantity: str, part: Part | None) -> Part | None:
    """The part of the prompts that a quantity is measured on: none where it is not one of pictures."""
    return part if OBJECTIVES[quantity].source == "pictures" else None


class ProblemOnPrompts:
    """A problem, and the like of it for each part of its prompts that was asked for.

    Whatever a problem computes once and keeps (the uncached pictures) is computed once for each part.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._on_parts: dict[Part, Problem] = {}

    def measure(self, task: Task) -> dict[str, Any]:
        """What was measured, by quantity."""
        measured = {}
        for quantity in task.quantities:
            value = getattr(self._on(asked_of(quantity, task.part)), quantity)(task.schedule)
            measured[quantity] = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return measured

    def _on(self, part: Part | None) -> Problem:
        if part is None:
            return self._problem
        if part not in self._on_parts:
            problem = prompted(self._problem)
            assert problem is not None
            prompts = problem.prompts if part.prompt_set == CALIBRATION else problem.held_out
            assert prompts is not None
            self._on_parts[part] = problem.on(prompts.at(part.positions))
        return self._on_parts[part]


@dataclass
class Measuring:
    """Has candidates measured by the evaluator, and the store remember what it found."""

    problem: Problem
    store: RunStore
    evaluator: Evaluator
    count: int = 0
    """So many measurements were made; what the store had is not among them."""

    def begun(self, genome: Genome | BitGenome, generation: int) -> Evaluation:
        """What is known of a genome's schedule: all that the store remembers, or what costs no measuring."""
        return self.store.find(genome.key) or Evaluation(
            key=genome.key,
            generation=generation,
            program=format(genome.program),
            edit=genome.origin.edit,
            parents=genome.origin.parents,
            objectives=known(self.problem, genome),
        )

    def measured(
        self,
        begun: Sequence[Evaluation],
        schedules: Sequence[Schedule],
        quantities: Sequence[str],
        part: Part | None = None,
    ) -> Iterator[Evaluation]:
        """Each evaluation with these quantities measured, in their order; stored as soon as there is one."""
        missing = [tuple(q for q in quantities if self.mean(e, q, part) is None) for e in begun]
        done = {i: e for i, e in enumerate(begun) if not missing[i] or e.error is not None}
        tasks = {i: Task(missing[i], schedule, part) for i, schedule in enumerate(schedules) if i not in done}
        outcomes = self.evaluator.map("measure", tasks)
        for index in range(len(begun)):
            while index not in done:
                which, outcome = next(outcomes)
                done[which] = self._stored(begun[which], part, outcome)
            yield done[index]

    def mean(self, evaluation: Evaluation, quantity: str, part: Part | None = None) -> float | None:
        """The mean over a part of the prompts: None unless it was measured on all of them."""
        part = asked_of(quantity, part)
        if part is None:
            return evaluation.objectives.get(quantity)
        known = self.store.values(evaluation.key, quantity, part.prompt_set)
        if not known.keys() >= set(part.positions):
            return None
        return float(np.mean([known[position] for position in part.positions]))

    def _stored(self, evaluation: Evaluation, part: Part | None, outcome: Outcome) -> Evaluation:
        self.count += 1
        arrays, error = _numbers(outcome)
        objectives, measured = dict(evaluation.objectives), []
        for quantity, values in arrays.items():
            on = asked_of(quantity, part)
            prompt_set, new = CALIBRATION if on is None else on.prompt_set, _by_position(values, on)
            mean = float(values.mean())
            if on is not None:
                known = self.store.values(evaluation.key, quantity, prompt_set) | new
                mean = float(np.mean([known[position] for position in sorted(known)]))
            objectives[name_in(prompt_set, quantity)] = mean
            measured.append(Measurements(quantity, new, prompt_set))
        seconds = evaluation.seconds + outcome.seconds
        told = replace(evaluation, objectives=objectives, error=error or evaluation.error, seconds=seconds)
        self.store.put(told, measured)
        return told


def known(problem: Problem, genome: Genome | BitGenome, names: Collection[str] = OBJECTIVES) -> dict[str, int]:
    """Those of these objectives that need no measuring, as far as the problem tells them."""
    counted = [name for name in names if OBJECTIVES[name].source == "schedule" and hasattr(problem, name)]
    values = {name: getattr(problem, name)(genome.schedule) for name in counted}
    return {**values, "rules": len(genome.rules)} if "rules" in names else values


def name_in(prompt_set: str, quantity: str) -> str:
    """What the objectives call the mean of a quantity over what was measured of a prompt set."""
    return quantity if prompt_set == CALIBRATION else f"{prompt_set.replace('-', '_')}_{quantity}"


def _by_position(values: Any, part: Part | None) -> dict[int, float]:
    if part is None:
        return dict(enumerate(values.tolist())) if values.ndim else {}
    if values.shape != (len(part.positions),):
        raise EcadError(
            f"the problem was asked about {len(part.positions)} prompts and answered with an array of shape"
            f" {list(values.shape)}; parts of the prompts need one number for each prompt"
        )
    return dict(zip(part.positions, values.tolist(), strict=True))


def _numbers(outcome: Outcome) -> tuple[dict[str, Any], str | None]:
    """What was measured, by quantity, as arrays [] or [prompts]; or why there is none."""
    if outcome.error is not None:
        return {}, outcome.error
    arrays = {}
    for quantity, value in outcome.value.items():
        try:
            arrays[quantity] = values = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            return {}, f"measured was {value!r}, which is no number and no array of numbers"
        if values.ndim > 1 or not values.size:
            return {}, f"measured was an array of shape {list(values.shape)}; return one number for each prompt"
        if not np.isfinite(values).all():
            return {}, f"measured was {values[~np.isfinite(values)].flat[0]}"
    return arrays, None
