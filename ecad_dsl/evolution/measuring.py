"""Measuring candidates: each number is in the store as soon as there is one, and none is measured twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecad_dsl.evolution.genome import Genome
from ecad_dsl.evolution.problem import Problem
from ecad_dsl.evolution.store import Evaluation, Measurements, RunStore
from ecad_dsl.language.tree import Program
from ecad_dsl.schedule import Schedule, format
from ecad_dsl.workers import Outcome, Workers


@dataclass(frozen=True)
class Measuring:
    """Has candidates measured by the workers, and the store remember what they found."""

    problem: Problem
    store: RunStore
    pool: Workers

    def begun(self, genome: Genome, generation: int) -> Evaluation:
        """What is known of a genome's schedule: all that the store remembers, or what costs no measuring."""
        return self.store.find(genome.key) or Evaluation(
            key=genome.key,
            generation=generation,
            program=format(Program(genome.rules)),
            edit=genome.origin.edit,
            parents=genome.origin.parents,
            objectives={"macs": self.problem.macs(genome.schedule), "rules": len(genome.rules)},
        )

    def measured(
        self, begun: Sequence[Evaluation], schedules: Sequence[Schedule], quantity: str
    ) -> Iterator[Evaluation]:
        """Each evaluation with this quantity measured, in their order; stored as soon as there is one."""
        done = {i: e for i, e in enumerate(begun) if quantity in e.objectives or e.error is not None}
        outcomes = self.pool.map(quantity, {i: schedule for i, schedule in enumerate(schedules) if i not in done})
        for index in range(len(begun)):
            while index not in done:
                which, outcome = next(outcomes)
                done[which] = self._stored(begun[which], quantity, outcome)
            yield done[index]

    def _stored(self, evaluation: Evaluation, quantity: str, outcome: Outcome) -> Evaluation:
        values, error = _numbers(outcome)
        seconds = evaluation.seconds + outcome.seconds
        if error is not None:
            failed = replace(evaluation, error=error, seconds=seconds)
            self.store.put(failed)
            return failed
        objectives = {**evaluation.objectives, quantity: float(values.mean())}
        measured = replace(evaluation, objectives=objectives, seconds=seconds)
        by_prompt = [Measurements(quantity, dict(enumerate(values.tolist())))] if values.ndim else []
        self.store.put(measured, by_prompt)
        return measured


def _numbers(outcome: Outcome) -> tuple[Any, str | None]:
    """What was measured as an array, [] or [prompts]; or why that is none."""
    if outcome.error is not None:
        return None, outcome.error
    try:
        values = np.asarray(outcome.value, dtype=float)
    except (TypeError, ValueError):
        return None, f"measured was {outcome.value!r}, which is no number and no array of numbers"
    if values.ndim > 1 or not values.size:
        return None, f"measured was an array of shape {list(values.shape)}; return one number for each prompt"
    if not np.isfinite(values).all():
        return None, f"measured was {values[~np.isfinite(values)].flat[0]}"
    return values, None
