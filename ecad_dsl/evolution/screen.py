"""A screen: which of many children are worth measuring, guessed from all that has been measured.

Breeding a child takes a thousandth of the time that measuring it takes. So more are bred than can be measured, and a
Gaussian process over the ages of what schedules reuse, which learns what a step counts for, tells how much each may add
to the front's hypervolume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pymoo.indicators.hv import HV
from scipy.special import ndtr

from ecad_dsl.evolution.genome import Genome
from ecad_dsl.evolution.guess import Array, Guess, learned
from ecad_dsl.schedule import Schedule

FAILED = 1e30
"""Stands for the objectives of a candidate that could not be measured: dominated by everything that could."""

Known = Callable[[Genome], Sequence[float | None]]
"""The objectives of a genome as far as they need not be measured (MACs, say), the others None. Less is better."""

DOUBT = 0.6
"""Deviations are taken for so many times what the process says: what is likely good goes before what may be good."""

MOST_KNOWN = 1500
"""So many measurements are learned from at most: solving takes the third power of their number."""


def column(violations: Array | None, objectives: Array) -> Array:
    """By how much genomes miss what they must keep to, as pymoo wants it: [genomes, 1]."""
    return np.zeros((len(objectives), 1)) if violations is None else violations[:, None]


def ages(schedules: Sequence[Schedule]) -> Array:
    """For how many steps each cell has not been recomputed, [schedules, steps, cells]."""
    rows = np.stack([np.concatenate([m.reshape(s.steps, -1) for m in s.to_numpy().values()], 1) for s in schedules])
    aged = np.zeros(rows.shape)
    for step in range(1, rows.shape[1]):
        aged[:, step] = np.where(rows[:, step], 0.0, aged[:, step - 1] + 1)
    return aged


def features(schedules: Sequence[Schedule]) -> list[Array]:
    """What guesses go by, group by group, [schedules, features] each.

    For each step the logarithms of the ages of cells, and their means over blocks; then the means over steps.
    """
    spec, steps = schedules[0].spec, schedules[0].steps
    aged = np.log1p(ages(schedules))
    by_step, over_steps = [4 * aged / np.sqrt(steps * spec.cells)], []
    for stack in spec.stacks:
        first, width = spec.offsets[stack.name], len(stack.components)
        own = aged[:, :, first : first + stack.blocks * width].reshape(len(aged), steps, stack.blocks, width)
        share = np.sqrt(stack.blocks * width / spec.cells)
        by_step.append(share * own.mean(2) / np.sqrt(steps * width))
        over_steps.append(share * own.mean(1).reshape(len(aged), -1) / np.sqrt(stack.blocks * width))
    return [*np.concatenate(by_step, 2).swapaxes(0, 1), np.concatenate(over_steps, 1)]


class Screen:
    """Guesses all objectives of genomes that have not been measured."""

    def __init__(self, known: Known, worst: Sequence[float]) -> None:
        self._known, self._worst = known, worst
        self._guesses: dict[int, Guess] = {}

    def learn(self, genomes: Sequence[Genome], objectives: Sequence[Array]) -> None:
        """From what was measured, the latest of it last."""
        good = [i for i, values in enumerate(objectives) if (values < FAILED).all()][-MOST_KNOWN:]
        if not good:
            return
        known = features([genomes[i].schedule for i in good])
        for which, value in enumerate(self._known(genomes[0])):
            if value is None:
                # How bad a bad one is tells nothing about good ones.
                values = np.array([min(objectives[i][which], self._worst[which]) for i in good])
                self._guesses[which] = learned(known, values)

    def __call__(self, genomes: Sequence[Genome]) -> tuple[Array, Array]:
        """Means and deviations, [genomes, objectives] each."""
        known = [self._known(genome) for genome in genomes]
        means = np.array(
            [[self._worst[i] if v is None else v for i, v in enumerate(row)] for row in known], dtype=float
        )
        deviations = np.zeros_like(means)
        asked = features([genome.schedule for genome in genomes]) if self._guesses else []
        for which, guess in self._guesses.items():
            means[:, which], deviations[:, which] = guess(asked)
            deviations[:, which] *= DOUBT
        return means, deviations


def expected_gains(means: Array, deviations: Array, front: Array, worst: Sequence[float]) -> Array:
    """How much hypervolume each candidate is expected to add to a front, [candidates].

    Means, deviations [candidates, objectives] and the front [points, objectives] are of numbers to be minimised, up to
    ``worst``. With two objectives of which the second is known for sure the expectation is exact; otherwise it is the
    gain of a candidate that is half a deviation better than guessed.
    """
    if means.shape[1] == 2 and not deviations[:, 1].any():
        return _rounded(_exact_gains(means[:, 0], deviations[:, 0], means[:, 1], front, (worst[0], worst[1])))
    best = np.minimum(means.min(0), front.min(0))
    span = np.where(np.array(worst) > best, np.array(worst) - best, 1.0)
    volume = HV(ref_point=np.ones(len(span)))
    hoped = (means - deviations / 2 - best) / span
    points = (front - best) / span
    # A box of its own, less what the front has of it: of many points few reach into it.
    gains = [np.clip(1 - own, 0, None).prod() - volume(np.maximum(points, own)) for own in hoped]
    return _rounded(np.array(gains))


def _rounded(gains: Array) -> Array:
    """So that no last digit, in which two machines may differ, decides between candidates that are as good as equal."""
    largest = float(gains.max(initial=0.0)) or 1.0
    rounded: Array = np.round(gains / largest, 8) * largest
    return rounded


def _exact_gains(means: Array, deviations: Array, costs: Array, front: Array, worst: tuple[float, float]) -> Array:
    stairs = sorted({(cost, number) for number, cost in front if number < worst[0] and cost < worst[1]})
    edges, heights, best = [], [worst[0]], worst[0]
    for cost, number in stairs:
        if number < best:
            edges.append(cost)
            heights.append(best := number)
    starts = np.array([-np.inf, *edges])
    stops = np.array([*edges, worst[1]])
    widths = np.maximum(0.0, stops - np.maximum(starts, costs[:, None]))
    # Nothing is ever better than the best that there has been (what recomputes everything, for one).
    least = min(number for number, _ in front)
    improvement = _shortfall(np.array(heights), means, deviations) - _shortfall(np.array([least]), means, deviations)
    gains: Array = (widths * improvement).sum(1)
    return gains


def _shortfall(heights: Array, means: Array, deviations: Array) -> Array:
    """How far below each height normally distributed numbers are expected to be, [numbers, heights]."""
    deviations = np.maximum(deviations, 1e-9)[:, None]
    away = (heights - means[:, None]) / deviations
    shortfall: Array = deviations * (away * ndtr(away) + np.exp(-np.square(away) / 2) / np.sqrt(2 * np.pi))
    return shortfall
