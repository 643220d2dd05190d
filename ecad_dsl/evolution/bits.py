"""The search over bits, one for each cell, as the ECAD paper does it: the yardstick of the search over programs.

NSGA-II with 4-point crossover in 9 of 10 matings and bit flips in 1 of 20 children, from random bits or from hand-made
schedules (`arXiv 2506.15682 <https://arxiv.org/abs/2506.15682>`_; its populations are of 72 and of 24).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.pntx import PointCrossover
from pymoo.operators.mutation.bitflip import BitflipMutation

from ecad_dsl.evolution.genome import Origin, Rules, Space
from ecad_dsl.evolution.guess import Array
from ecad_dsl.evolution.parts import Random, ranges
from ecad_dsl.evolution.screen import column
from ecad_dsl.language.tree import Action, BlockRange, Components, Program, Range, Rule, StepRange
from ecad_dsl.schedule import Schedule

CROSSED = 0.9
POINTS = 4
FLIPPED = 0.05

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class BitGenome:
    """A schedule that no rules were bred for."""

    schedule: Schedule
    origin: Origin = field(compare=False)

    @cached_property
    def key(self) -> str:
        return self.schedule.key

    @property
    def rules(self) -> Rules:
        return spelled(self.schedule)

    @property
    def program(self) -> Program:
        return Program(self.rules)


class BitSearch:
    """Ask it for genomes, tell it what they are worth, again and again."""

    def __init__(self, space: Space, first: Bits, seed: int, objectives: int = 2) -> None:
        """``first``: the first population, [genomes, steps, cells]."""
        self._space = space
        self._algorithm = NSGA2(
            pop_size=len(first),
            sampling=first.reshape(len(first), -1),
            crossover=PointCrossover(POINTS, prob=CROSSED),
            mutation=BitflipMutation(prob=FLIPPED),
        )
        bits = space.steps * space.spec.cells
        problem = PymooProblem(n_var=bits, n_obj=objectives, n_ieq_constr=1, xl=0, xu=1, vtype=bool)
        self._algorithm.setup(problem, seed=seed, termination=("n_gen", math.inf), verbose=False)
        self._asked: Any = None
        self._generation = -1

    def ask(self) -> list[BitGenome]:
        """Genomes to be measured; none at all where no new one was found."""
        self._asked = self._algorithm.ask()
        self._generation += 1
        origin = Origin("bits" if self._generation else "first population")
        return [] if self._asked is None else [BitGenome(self._schedule(i.X), origin) for i in self._asked]

    def tell(self, objectives: Array, violations: Array | None = None) -> None:
        """What the genomes asked for last are worth, [genomes, objectives], less being better.

        ``violations``: by how much each misses what it must keep to, [genomes]; None: they all keep to it.
        """
        self._asked.set(F=objectives, CV=column(violations, objectives))
        self._algorithm.tell(infills=self._asked)

    def alive(self) -> list[BitGenome]:
        """The population."""
        return [BitGenome(self._schedule(individual.X), Origin("bits")) for individual in self._algorithm.pop]

    def tell_again(self, objectives: Array, violations: Array | None = None) -> None:
        """What the population is worth now, where that has changed."""
        self._algorithm.pop.set(F=objectives, CV=column(violations, objectives))

    def shortened(self) -> list[BitGenome]:
        """Programs are not what is bred: none."""
        return []

    def _schedule(self, bits: Bits) -> Schedule:
        cells = bits.astype(np.bool_).reshape(self._space.steps, -1)
        packed = np.packbits(cells, axis=1, bitorder="little")
        return Schedule(self._space.spec, tuple(int.from_bytes(row.tobytes(), "little") for row in packed))


def random_bits(space: Space, size: int, random: Random) -> Bits:
    """Each cell recomputed or reused with even chances, [size, steps, cells]."""
    return random.random((size, space.steps, space.spec.cells)) < 0.5


def bits_of(schedules: Sequence[Schedule]) -> Bits:
    """[schedules, steps, cells]"""
    return np.stack([np.concatenate([m.reshape(s.steps, -1) for m in s.to_numpy().values()], 1) for s in schedules])


def spelled(schedule: Schedule) -> Rules:
    """The cells that are reused, step by step: exact, quickly written, and nothing that a person would want to read."""
    rules: list[Rule] = []
    for step, masks in enumerate(zip(*schedule.to_numpy().values(), strict=True)):
        at = StepRange((Range.single(step),))
        for stack, mask in zip(schedule.spec.stacks, masks, strict=True):
            # Components that reuse the same blocks share a rule.
            alike: dict[tuple[int, ...], list[str]] = {}
            for component, cells in zip(stack.components, mask.T, strict=True):
                reused = tuple(int(block) for block in np.flatnonzero(~cells))
                if reused:
                    alike.setdefault(reused, []).append(component.name)
            for blocks, names in alike.items():
                where = (BlockRange(ranges(blocks), stack.name),)
                rules.append(Rule(Action.REUSE, Components(tuple(names)), where, None, at))
    return tuple(rules)
