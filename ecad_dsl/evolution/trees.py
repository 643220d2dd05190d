"""The search over programs: NSGA-II chooses who lives on, edits that have proved themselves make the children."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.selection.tournament import TournamentSelection

from ecad_dsl.evolution.crossover import CROSSOVERS
from ecad_dsl.evolution.genome import Genome, Origin, Space, grow, resized
from ecad_dsl.evolution.guess import Array
from ecad_dsl.evolution.mutation import MUTATIONS, Split
from ecad_dsl.evolution.parts import Random
from ecad_dsl.evolution.screen import FAILED, Known, Screen, column, expected_gains

LITTER = 10
"""Children bred for each that is measured, where a screen chooses."""
ROUNDS = 1
"""So often the most promising of these have children of their own before any is measured."""
RESIZED = 0.2
"""This share of the children is given another number of steps, where that may vary."""
UNSCREENED = 0.1
"""This share of the children is measured whatever the screen says, so that it learns what it does not know."""


@dataclass
class Credit:
    """Rates of operators, by how many of their children came onto the front."""

    bases: dict[str, float]
    tries: dict[str, float] = field(default_factory=dict)
    hits: dict[str, float] = field(default_factory=dict)

    def rates(self) -> Array:
        """Probabilities, in the order of ``bases``; none is ever given up."""
        share = sum(self.hits.values()) / (sum(self.tries.values()) or 1)
        worth = np.array(
            [
                base * (self.hits.get(name, 0) + 10 * share + 0.1) / (self.tries.get(name, 0) + 10) / (share + 0.01)
                for name, base in self.bases.items()
            ]
        )
        rates: Array = 0.8 * worth / worth.sum() + 0.2 / len(worth)
        return rates

    def count(self, edit: str, hit: bool) -> None:
        """What became of a child of these operators."""
        for name in edit.split(", "):
            if name in self.bases:
                self.tries[name] = self.tries.get(name, 0) + 1
                self.hits[name] = self.hits.get(name, 0) + hit


class TreeSearch:
    """Ask it for genomes, tell it what they are worth, again and again."""

    def __init__(
        self,
        space: Space,
        first: Sequence[Genome],
        known: Known,
        seed: int,
        *,
        worst: Sequence[float | None] | None = None,
        limits: Sequence[float] | None = None,
        offspring: int | None = None,
        screened: bool = True,
        rounds: int = ROUNDS,
    ) -> None:
        """``worst``: the reference point of the hypervolume; None, for each or for all, where that is what the first
        population has worst.

        ``limits``: beyond these, objectives are of no interest.
        """
        self._breeding = _Breeding(space, known, worst, limits=limits, screened=screened, rounds=rounds)
        count = len(known(first[0]))
        self._algorithm = NSGA2(
            pop_size=len(first),
            n_offsprings=offspring,
            sampling=Population.new("X", _boxed(first)),
            mating=self._breeding,
            eliminate_duplicates=False,  # breeding sees to it
        )
        problem = PymooProblem(n_var=1, n_obj=count, n_ieq_constr=1)
        self._algorithm.setup(problem, seed=seed, termination=("n_gen", math.inf), verbose=False)
        self._asked: Any = None

    def ask(self) -> list[Genome]:
        """Genomes to be measured, none of them asked for before; none at all where no new one was found."""
        self._asked = self._algorithm.ask()
        return [] if self._asked is None else [individual.X[0] for individual in self._asked]

    def tell(self, objectives: Array, violations: Array | None = None) -> None:
        """What the genomes asked for last are worth, [genomes, objectives], less being better.

        ``violations``: by how much each misses what it must keep to, [genomes]; None: they all keep to it.
        """
        self._breeding.learn([individual.X[0] for individual in self._asked], objectives, violations)
        self._asked.set(F=objectives, CV=column(violations, objectives))
        self._algorithm.tell(infills=self._asked)

    def alive(self) -> list[Genome]:
        """The population."""
        return [individual.X[0] for individual in self._algorithm.pop]

    def tell_again(self, objectives: Array, violations: Array | None = None) -> None:
        """What the population is worth now, where that has changed; nothing else is held to be known any more."""
        self._breeding.forget()
        self._breeding.learn(self.alive(), objectives, violations, credited=False)
        self._algorithm.pop.set(F=objectives, CV=column(violations, objectives))

    def shortened(self) -> list[Genome]:
        """Those measured before that the last children gave shorter programs for the same schedules."""
        return list(self._breeding.shortened.values())


@dataclass
class _Measured:
    genome: Genome
    objectives: Array
    violation: float = 0.0

    def is_as_good(self, other: _Measured) -> bool:
        """In everything, and keeps to the limits as well: what does not may go on lending its rules."""
        return self.violation <= other.violation and bool((self.objectives <= other.objectives).all())


class _Breeding(InfillCriterion):  # type: ignore[misc]
    """Children of programs, of those alive and of those on the front of all that was measured."""

    def __init__(
        self,
        space: Space,
        known: Known,
        worst: Sequence[float | None] | None,
        *,
        limits: Sequence[float] | None,
        screened: bool,
        rounds: int,
    ) -> None:
        super().__init__()
        self.space, self.known, self.limits, self.rounds = space, known, limits or math.inf, rounds
        # What is known of schedules of some steps tells little of those of others.
        self.screened = screened and len(space.step_counts) == 1
        self.given = worst
        self.worst: Sequence[float] = ()
        self.credits = [
            Credit({type(crossover).__name__: 1.0 for crossover in CROSSOVERS}),
            Credit({type(mutation).__name__: rate for mutation, rate in MUTATIONS}),
        ]
        self.selection = TournamentSelection(func_comp=binary_tournament)
        self.measured: dict[str, _Measured] = {}
        self.front: list[_Measured] = []
        self.shortened: dict[str, Genome] = {}

    def learn(
        self, genomes: Sequence[Genome], objectives: Array, violations: Array | None, credited: bool = True
    ) -> None:
        """What has been measured."""
        if not self.worst and (objectives < FAILED).any():
            # Hypervolume counts from what the first population had worst, or the first one that did not all fail.
            found = np.where(objectives < FAILED, objectives, -np.inf).max(0).tolist()
            given = self.given or [None] * len(found)
            self.worst = [worst if own is None else own for own, worst in zip(given, found, strict=True)]
        for genome, values, (violation,) in zip(genomes, objectives, column(violations, objectives), strict=True):
            new = self.measured[genome.key] = _Measured(genome, values, violation)
            hit = not any(old.is_as_good(new) for old in self.front)
            if hit:
                self.front = [old for old in self.front if not new.is_as_good(old)] + [new]
            for credit in self.credits if credited else ():
                credit.count(genome.origin.edit, hit)

    def forget(self) -> None:
        """What was measured otherwise; its schedules stay known, so that none is bred again."""
        self.front = []
        self.measured = {
            key: replace(m, objectives=np.full_like(m.objectives, FAILED)) for key, m in self.measured.items()
        }

    def do(self, problem: Any, pop: Any, n_offsprings: int, random_state: Any = None, **kwargs: Any) -> Any:
        def parents() -> Sequence[Genome]:
            if random_state.random() < 0.5:
                (pair,) = self.selection(problem, pop, 1, n_parents=2, random_state=random_state, **kwargs)
                return [individual.X[0] for individual in pair]
            return _two([member.genome for member in self.front], random_state)

        rates = [credit.rates() for credit in self.credits]
        self.shortened = {}
        if self.screened and self.worst:
            children = self._screened(parents, n_offsprings, rates, random_state)
        else:
            children = self._litter(parents, n_offsprings, rates, random_state)
        for individual in pop:
            if individual.X[0].key in self.shortened:
                measured = self.measured[individual.X[0].key]
                individual.X[0], individual.F = measured.genome, measured.objectives
        return Population.new("X", _boxed(children))

    def _shorten(self, child: Genome) -> None:
        """Of programs for the same schedule, keep the shortest."""
        known = self.measured[child.key]
        if len(child.rules) < len(known.genome.rules) and (known.objectives < FAILED).all():
            known.genome = self.shortened[child.key] = replace(known.genome, rules=child.rules)
            told = zip(known.objectives, self.known(known.genome), strict=True)
            known.objectives = np.array([measured if value is None else value for measured, value in told])

    def _rivals(self) -> tuple[Array, Sequence[float]]:
        """What children are to add hypervolume to, and up to where: the front of those that keep to the limits.

        As long as none does, the front of all.
        """
        kept = [member.objectives for member in self.front if not member.violation]
        if not kept:
            return np.array([member.objectives for member in self.front]), self.worst
        return np.array(kept), np.minimum(self.worst, self.limits).tolist()

    def _screened(
        self, parents: Callable[[], Sequence[Genome]], wanted: int, rates: Sequence[Array], random: Random
    ) -> list[Genome]:
        """Children that may add most to the front, among them children of children, and a few of the others."""
        screen = Screen(self.known, self.worst)
        screen.learn([m.genome for m in self.measured.values()], [m.objectives for m in self.measured.values()])
        front, worst = self._rivals()
        litter = self._litter(parents, LITTER * wanted, rates, random)
        if len(litter) <= wanted:
            return litter
        means, deviations = screen(litter)
        for _ in range(self.rounds):
            gains = expected_gains(means, deviations, front, worst)
            best = [litter[int(index)] for index in np.argsort(-gains, kind="stable")[: 2 * wanted]]
            more = self._litter(partial(_two, best, random), LITTER * wanted, rates, random, litter)
            if more:
                guesses = screen(more)
                litter, means, deviations = (
                    litter + more,
                    np.concatenate([means, guesses[0]]),
                    np.concatenate([deviations, guesses[1]]),
                )
        # Each one chosen is taken for a point of the front, as good as guessed, so that the next one lies elsewhere.
        left = list(range(len(litter)))
        chosen: list[Genome] = []
        for _ in range(min(len(litter), wanted - round(UNSCREENED * wanted))):
            gains = expected_gains(means[left], deviations[left], front, worst)
            best_of_all = left.pop(int(gains.argmax()))
            front = np.concatenate([front, means[[best_of_all]]])
            chosen.append(litter[best_of_all])
        return chosen + [litter[index] for index in left[: wanted - len(chosen)]]

    def _litter(
        self,
        parents: Callable[[], Sequence[Genome]],
        wanted: int,
        rates: Sequence[Array],
        random: Random,
        older: Sequence[Genome] = (),
    ) -> list[Genome]:
        """Children that have neither been measured nor are among the older ones."""
        taken = {child.key for child in older}
        children: dict[str, Genome] = {}
        for _ in range(5 * wanted):
            if len(children) == wanted:
                break
            one, other = parents()
            child = self._child(one, other, rates, random)
            if child is None or child.key in taken:
                continue
            if child.key in self.measured:
                self._shorten(child)
            elif child.key not in children or len(child.rules) < len(children[child.key].rules):
                children[child.key] = child
        return list(children.values())

    def _child(self, one: Genome, other: Genome, rates: Sequence[Array], random: Random) -> Genome | None:
        space, rules = self.space.at(one.steps), one.rules
        edits: list[str] = []
        parents = self._measured_ancestors(one)
        if random.random() < 0.4 and one.key != other.key:
            crossover = CROSSOVERS[int(random.choice(len(CROSSOVERS), p=rates[0]))]
            rules = crossover(rules, resized(other.rules, other.steps, space), space, random)
            edits.append(type(crossover).__name__)
            parents += tuple(key for key in self._measured_ancestors(other) if key not in parents)
        # A crossover alone is a child now and then; otherwise one edit, sometimes a few.
        count = int(random.geometric(0.6)) - (1 if edits and random.random() < 0.5 else 0)
        while count > 0 and len(edits) < 6:
            mutation = MUTATIONS[int(random.choice(len(MUTATIONS), p=rates[1]))][0]
            mutated = mutation(rules, space, random)
            if mutated is not None:
                rules = mutated
                edits.append(type(mutation).__name__)
            # Splitting a rule changes nothing yet: it lets the next edit reach one half.
            count -= not isinstance(mutation, Split)
        if len(self.space.step_counts) > 1 and random.random() < RESIZED:
            there = self.space.at(int(random.choice(self.space.step_counts)))
            rules, space = resized(rules, one.steps, there), there
            edits.append(f"{there.steps} steps")
        if one.key not in self.measured:
            edits.insert(0, one.origin.edit)
        child = grow(rules, space, Origin(", ".join(edits), parents)) if edits else None
        return child if child is not None and self.space.holds(child.schedule) else None

    def _measured_ancestors(self, genome: Genome) -> tuple[str, ...]:
        """Itself, or what it was bred from where it is a child that nobody has measured."""
        return (genome.key,) if genome.key in self.measured else genome.origin.parents


def _two(genomes: Sequence[Genome], random: Random) -> list[Genome]:
    return [genomes[int(index)] for index in random.integers(len(genomes), size=2)]


def _boxed(genomes: Sequence[Genome]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Genomes as pymoo wants variables: an object array [genomes, 1]."""
    boxed = np.empty((len(genomes), 1), dtype=object)
    boxed[:, 0] = genomes
    return boxed
