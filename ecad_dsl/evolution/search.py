"""The search: NSGA-II over programs, quality against MACs.

Quality is the mean reward, or fidelity: how close pictures come to those without a cache. A reward of few prompts hangs
on the one or two that a schedule happens to spoil; the distance to the uncached picture tells schedules apart with each
prompt, so that fidelity finds the better ones with far fewer pictures. Rewards then tell what was found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mating import Mating
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.selection.tournament import TournamentSelection

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.crossover import CROSSOVERS
from ecad_dsl.evolution.genome import Genome, Origin, Space, grow
from ecad_dsl.evolution.hypervolume import Frame
from ecad_dsl.evolution.initial import first_population
from ecad_dsl.evolution.measuring import Measuring
from ecad_dsl.evolution.mutation import MUTATIONS, Random
from ecad_dsl.evolution.problem import Problem
from ecad_dsl.evolution.store import Evaluation, Generation, RunStore
from ecad_dsl.files import write_text
from ecad_dsl.language.tree import Meta, Model, Program, Steps
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.schedule import Schedule, cost, format
from ecad_dsl.workers import Workers

Objective = Literal["reward", "fidelity"]

FAILED = 1e6
"""Stands for the negative quality of a candidate that could not be measured: dominated by everything that could."""

NEAR = 2.0
"""Promising: so many dB behind the best fidelity of no more MACs."""
REWARDED = 24
"""At most so many promising candidates have their reward measured."""


@dataclass(frozen=True)
class Candidate:
    """A measured schedule."""

    program: Program
    schedule: Schedule
    quality: float
    """What it is chosen by, and therefore flattering: mean reward or fidelity on the calibration prompts.

    On the front that a search ends with it is the reward.
    """
    reward: float | None
    """Mean reward on the calibration prompts; None until it is measured, at the end of a search for fidelity."""
    macs: int
    generation: int
    """0: one of the first population, which people wrote."""
    edit: str
    """What made it of its parents, or its name in the first population."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands after an evaluation. ``front`` runs from the cheapest candidate to the best."""

    generation: int
    generations: int
    evaluated: int
    remembered: int
    """Evaluations answered by the store instead of measured."""
    failed: int
    last: Evaluation
    front: tuple[Candidate, ...]
    rewarded: int = 0
    to_reward: int = 0
    """At the end of a search for fidelity: how many of the promising candidates have their reward."""


def evolve(
    problem: Problem,
    run: str | Path,
    *,
    population: int = 20,
    generations: int = 12,
    seed: int = 0,
    objective: Objective = "reward",
    max_rules: int = 24,
    min_macs: float = 0.0,
    max_macs: float = 1.0,
    workers: int = 1,
) -> Iterator[Progress]:
    """Search for schedules; yields after every evaluation and can be stopped at any of them.

    With ``objective="fidelity"`` the rewards of the most promising candidates are measured last, and the front that the
    search ends with is that of their rewards.

    Children are bred between ``min_macs`` and ``max_macs``, shares of recomputing everything; the first population,
    which lends them its rules, is measured whatever it costs.

    With ``workers`` more than one, candidates are measured side by side in so many processes, each with a copy of the
    problem (see ``Workers``); what is found does not depend on their number.

    Called again with the same settings and run folder, it goes on where it was stopped and ends with the front of an
    uninterrupted run. ``run/front/*.ecad`` is written anew after each generation.

    Raises:
        EcadError: the run folder cannot be used, or was started with other settings.
    """
    if population < 2 or generations < 0:
        raise EcadError("evolution needs a population of at least 2 and no fewer than 0 generations")
    if not 0 <= min_macs < max_macs <= 1:
        raise EcadError(f"min_macs and max_macs are shares with 0 <= min < max <= 1, not {min_macs} and {max_macs}")
    space = Space(problem.spec, problem.steps, max_rules, min_macs, max_macs)
    settings = {
        **{f"problem {name}": value for name, value in problem.settings.items()},
        "population": population,
        "generations": generations,
        "seed": seed,
        "objective": objective,
        "max_rules": max_rules,
        "min_macs": min_macs,
        "max_macs": max_macs,
        # Going on means going through the same search again, which another version may do differently.
        **{f"version of {name}": version(name) for name in ("ecad", "pymoo", "numpy")},
    }
    if workers < 1:
        raise EcadError(f"evolution needs at least one worker, not {workers}")
    with RunStore(Path(run)) as store, Workers(problem, workers) as pool:
        store.keep_settings(settings)
        prompts = getattr(problem, "prompts", None)
        if isinstance(prompts, PromptSet):
            store.keep_prompts(prompts)
        yield from _search(space, store, Measuring(problem, store, pool), settings)


def _search(space: Space, store: RunStore, measuring: Measuring, settings: dict[str, Any]) -> Iterator[Progress]:
    algorithm = _nsga2(space, settings["population"], settings["seed"])
    frame: Frame | None = None
    front: tuple[Candidate, ...] = ()
    found: dict[str, Candidate] = {}
    evaluated = remembered = failed = 0
    for generation in range(settings["generations"] + 1):
        asked = algorithm.ask()
        if asked is None:  # no child that is new could be found
            break
        genomes: list[Genome] = [individual.X[0] for individual in asked]
        begun = [measuring.begun(genome, generation) for genome in genomes]
        evaluations = measuring.measured(begun, [genome.schedule for genome in genomes], settings["objective"])
        asked_for = []
        for individual, genome, evaluation in zip(asked, genomes, evaluations, strict=True):
            asked_for.append(evaluation)
            evaluated += 1
            remembered += evaluation.generation < generation
            quality = evaluation.objectives.get(settings["objective"])
            failed += quality is None
            individual.set("F", np.array([FAILED if quality is None else -quality, evaluation.macs], dtype=float))
            if quality is not None:
                found[genome.key] = candidate = _candidate(genome, evaluation, quality)
                front = _with_candidate(front, candidate)
            yield Progress(generation, settings["generations"], evaluated, remembered, failed, evaluation, front)
        algorithm.tell(infills=asked)
        frame = frame or Frame.of([_minimised(c) for c in found.values()])
        store.put_generation(_generation(generation, asked_for, front, frame))
        write_front(store.path.parent / "front", front)
    if settings["objective"] == "fidelity":
        chosen = _promising(tuple(found.values()), space) or front  # nothing bred: those written by hand
        front = ()
        schedules = [candidate.schedule for candidate in chosen]
        begun = [before for schedule in schedules if (before := store.find(schedule.key))]
        rewarded = measuring.measured(begun, schedules, "reward")
        for count, (candidate, evaluation) in enumerate(zip(chosen, rewarded, strict=True), start=1):
            if evaluation.reward is None:
                failed += 1
            else:
                front = _with_candidate(front, replace(candidate, quality=evaluation.reward, reward=evaluation.reward))
            yield Progress(
                generation, settings["generations"], evaluated, remembered, failed, evaluation,
                front, count, len(chosen),
            )  # fmt: skip
        write_front(store.path.parent / "front", front)


def _generation(number: int, asked: Sequence[Evaluation], front: tuple[Candidate, ...], frame: Frame) -> Generation:
    return Generation(
        number,
        evaluated=len(asked),
        remembered=sum(evaluation.generation < number for evaluation in asked),
        failed=sum(evaluation.error is not None for evaluation in asked),
        hypervolume=frame.hypervolume([_minimised(c) for c in front]),
        seconds=sum(evaluation.seconds for evaluation in asked if evaluation.generation == number),
        front=tuple(candidate.schedule.key for candidate in front),
    )


def _minimised(candidate: Candidate) -> tuple[float, float]:
    return -candidate.quality, float(candidate.macs)


def _promising(found: tuple[Candidate, ...], space: Space) -> tuple[Candidate, ...]:
    """Bred ones that come closest to the best fidelity of no more MACs: worth telling apart by reward."""

    def behind(candidate: Candidate) -> float:
        return max(c.quality for c in found if c.macs <= candidate.macs) - candidate.quality

    near = [c for c in found if c.generation > 0 and space.holds(c.schedule) and behind(c) <= NEAR]
    return tuple(sorted(sorted(near, key=behind)[:REWARDED], key=lambda c: c.macs))


def _nsga2(space: Space, population: int, seed: int) -> NSGA2:
    random = np.random.default_rng(seed)
    first = first_population(space, population, random)
    algorithm = NSGA2(
        pop_size=population,
        sampling=Population.new("X", _boxed(first)),
        eliminate_duplicates=_SameSchedule(),
        mating=_TreeMating(space),
    )
    algorithm.setup(PymooProblem(n_var=1, n_obj=2), seed=seed, termination=("n_gen", math.inf), verbose=False)
    return algorithm


def _candidate(genome: Genome, evaluation: Evaluation, quality: float) -> Candidate:
    return Candidate(
        program=Program(genome.rules),
        schedule=genome.schedule,
        quality=quality,
        reward=evaluation.reward,
        macs=evaluation.macs,
        generation=evaluation.generation,
        edit=evaluation.edit,
    )


def _with_candidate(front: tuple[Candidate, ...], new: Candidate) -> tuple[Candidate, ...]:
    """The front with a candidate added, unless one on it is as good and as cheap."""
    if any(c.quality >= new.quality and c.macs <= new.macs for c in front):
        return front
    kept = [c for c in front if c.quality > new.quality or c.macs < new.macs]
    return tuple(sorted([*kept, new], key=lambda c: c.macs))


def published(candidate: Candidate) -> Program:
    """The candidate's program with its model, steps and figures written on top."""
    origin = f"evolved in generation {candidate.generation}" if candidate.generation else candidate.edit
    header = (
        Model(candidate.schedule.spec.name),
        Steps(candidate.schedule.steps),
        Meta("title", f"{origin}: {_share(candidate):.1%} of the MACs"),
        Meta("macs", candidate.macs),
        *([] if candidate.reward is None else [Meta("calibration_reward", round(candidate.reward, 4))]),
    )
    return replace(candidate.program, statements=(*header, *candidate.program.statements))


_OWN_NAME = re.compile(r"macs-[0-9]{2,3}\.[0-9]-[0-9a-f]{4}\.ecad")


def file_name(candidate: Candidate) -> str:
    """``macs-NN.N-KEY.ecad``: percent of the MACs of recomputing everything, and the start of the schedule's key."""
    return f"macs-{100 * _share(candidate):04.1f}-{candidate.schedule.key[:4]}.ecad"


def write_front(folder: Path, front: tuple[Candidate, ...]) -> None:
    """Write the front's programs in place of an older front's."""
    names = set()
    for candidate in front:
        names.add(file_name(candidate))
        write_text(folder / file_name(candidate), format(published(candidate)))
    for old in folder.glob("macs-*.ecad"):
        if old.name not in names and _OWN_NAME.fullmatch(old.name):
            old.unlink()


def _share(candidate: Candidate) -> float:
    return 1 - cost(candidate.schedule).saved


# ------------------------------------------------------------------------------------ what pymoo is handed


class _SameSchedule(DuplicateElimination):  # type: ignore[misc]
    """Genomes whose schedules are equal are one candidate, whatever their rules."""

    def _do(self, pop: Any, other: Any, is_duplicate: Any) -> Any:
        seen = set() if other is None else {individual.X[0].key for individual in other}
        for index, individual in enumerate(pop):
            key = individual.X[0].key
            is_duplicate[index] |= key in seen
            if other is None:
                seen.add(key)
        return is_duplicate


class _TreeMating(Mating):  # type: ignore[misc]
    """Children of programs: a crossover now and then, mutations always."""

    def __init__(self, space: Space, crossover_rate: float = 0.5) -> None:
        selection = TournamentSelection(func_comp=binary_tournament)
        super().__init__(selection, None, None, eliminate_duplicates=_SameSchedule())
        self.space = space
        self.crossover_rate = crossover_rate

    def _do(self, problem: Any, pop: Any, n_offsprings: int, random_state: Any = None, **kwargs: Any) -> Any:
        pairs = self.selection(problem, pop, n_offsprings, n_parents=2, random_state=random_state, **kwargs)
        children = [self._child(one.X[0], other.X[0], random_state) for one, other in pairs]
        return Population.new("X", _boxed([child for child in children if child is not None]))

    def _child(self, one: Genome, other: Genome, random: Random) -> Genome | None:
        rules = one.rules
        edits: list[str] = []
        parents: tuple[str, ...] = (one.key,)
        if random.random() < self.crossover_rate and one.key != other.key:
            crossover = CROSSOVERS[int(random.integers(len(CROSSOVERS)))]
            rules = crossover(one.rules, other.rules, self.space, random)
            edits.append(type(crossover).__name__)
            parents = (one.key, other.key)
        # A crossover alone is a child now and then; otherwise one edit, sometimes a few.
        count = int(random.geometric(0.6)) - (1 if edits and random.random() < 0.5 else 0)
        rates = np.array([rate for _, rate in MUTATIONS])
        for choice in random.choice(len(MUTATIONS), size=count, p=rates / rates.sum()):
            mutation = MUTATIONS[int(choice)][0]
            mutated = mutation(rules, self.space, random)
            if mutated is not None and self.space.compiled(mutated) is not None:
                rules = mutated
                edits.append(type(mutation).__name__)
        child = grow(rules, self.space, Origin(", ".join(edits), parents)) if edits else None
        return child if child is not None and self.space.holds(child.schedule) else None


def _boxed(genomes: list[Genome]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Genomes as pymoo wants variables: an object array [genomes, 1]."""
    boxed = np.empty((len(genomes), 1), dtype=object)
    boxed[:, 0] = genomes
    return boxed
