"""The search: NSGA-II over programs, quality against MACs.

Quality is the mean reward, or fidelity: how close pictures come to those without a cache. A reward of few prompts hangs
on the one or two that a schedule happens to spoil; the distance to the uncached picture tells schedules apart with each
prompt, so that fidelity finds the better ones with far fewer pictures. Rewards then tell what was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.bits import BitGenome, BitSearch, bits_of, random_bits
from ecad_dsl.evolution.config import versions, write_config
from ecad_dsl.evolution.genome import Genome, Space
from ecad_dsl.evolution.hypervolume import Frame
from ecad_dsl.evolution.initial import first_population, random_population
from ecad_dsl.evolution.measuring import Measuring, Part, ProblemOnPrompts, parts
from ecad_dsl.evolution.problem import Problem, prompted
from ecad_dsl.evolution.screen import FAILED
from ecad_dsl.evolution.store import CALIBRATION, HELD_OUT, Evaluation, Generation, RunStore
from ecad_dsl.evolution.trees import TreeSearch
from ecad_dsl.files import write_text
from ecad_dsl.language.tree import Meta, Model, Program, Steps
from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.ray_workers import RayWorkers
from ecad_dsl.schedule import Schedule, cost, format
from ecad_dsl.workers import Evaluator, Workers

Objective = Literal["reward", "fidelity"]
GenomeKind = Literal["trees", "bits"]
Start = Literal["heuristic", "random"]

EFFORT = 0.1
"""Of decompiling what was bred as bits: there may be many of them, and little order in each."""

NEAR = 2.0
"""Promising: so many dB behind the best fidelity of no more MACs."""
REWARDED = 24
"""At most so many promising candidates have their reward measured."""


@dataclass(frozen=True)
class Judgement:
    """Mean reward on prompts that the search has not seen, with its 95 % interval (bootstrap over the prompts)."""

    mean: float
    low: float
    high: float
    prompts: int


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
    held_out: Judgement | None = None
    """None until the end of the search, or if the problem has no held-out prompts."""
    share: float | None = None
    """Of the MACs of recomputing everything, at every step that the search was for; None: at each of its own steps."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands after an evaluation. ``front`` runs from the cheapest candidate to the best."""

    generation: int
    generations: int
    evaluated: int
    remembered: int
    """Evaluations of schedules that an earlier generation had measured."""
    failed: int
    last: Evaluation
    front: tuple[Candidate, ...]
    hypervolume: float = 0.0
    """Of the front, where 1 is what lies between the worst and the best values of the first population."""
    measured: int = 0
    """Measurements that were made since this search was begun or resumed; the others the store remembered."""
    rewarded: int = 0
    to_reward: int = 0
    """At the end of a search for fidelity: how many of the promising candidates have their reward."""
    judged: int = 0
    to_judge: int = 0
    """At the very end: how many of the front have been measured on held-out prompts."""


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
    genome: GenomeKind = "trees",
    start: Start = "heuristic",
    fewest_steps: int | None = None,
    rotate: int = 1,
    workers: int = 1,
    ray: str | None = None,
) -> Iterator[Progress]:
    """Search for schedules; yields after every evaluation and can be stopped at any of them.

    With ``objective="fidelity"`` the rewards of the most promising candidates are measured last, and the front that the
    search ends with is that of their rewards.

    Children are bred between ``min_macs`` and ``max_macs``, shares of recomputing everything; the first population,
    which lends them its rules, is measured whatever it costs.

    Genomes are programs (``trees``), or one bit for each cell with the operators of the ECAD paper (``bits``); bits are
    measured whatever they cost, and those of the front are written as programs. The first population is hand-made
    (``heuristic``), filled up with random programs, or ``random``.

    With ``fewest_steps``, programs may run with fewer steps than the problem's, down to so many: as the search finds
    best. The hand-made first population has every number of steps without a cache. Not for ``bits``.

    With ``rotate`` more than one, the calibration prompts are cut into so many parts, and each generation measures on
    the next of them: its children, and once more their parents, so that all rivals are compared on the same prompts and
    nothing survives for long that only suits a few. The last population is measured on all of them.

    Where the problem has held-out prompts (see ``Prompted``), the front is measured on these in the very end.

    With ``workers`` more than one, candidates are measured side by side in so many processes, each with a copy of the
    problem (see ``Workers``). With ``ray``, an address or ``"local"``, they are measured by the actors of a Ray cluster
    (see ``RayWorkers``). What is found depends on neither.

    Called again with the same settings and run folder, it goes on where it was stopped and ends with the front of an
    uninterrupted run. ``run/front/*.ecad`` is written anew after each generation.

    Raises:
        EcadError: the run folder cannot be used, or was started with other settings.
    """
    if population < 2 or generations < 0:
        raise EcadError("evolution needs a population of at least 2 and no fewer than 0 generations")
    if not 0 <= min_macs < max_macs <= 1:
        raise EcadError(f"min_macs and max_macs are shares with 0 <= min < max <= 1, not {min_macs} and {max_macs}")
    for quantity in dict.fromkeys((objective, "reward")):
        if not hasattr(problem, quantity):
            raise EcadError(f"the problem has no method {quantity}(schedule), which a search for {objective} asks for")
    _check_steps(fewest_steps, problem.steps, population, genome)
    space = Space(problem.spec, problem.steps, max_rules, min_macs, max_macs, fewest_steps)
    settings = {
        **{f"problem {name}": value for name, value in problem.settings.items()},
        "population": population,
        "generations": generations,
        "seed": seed,
        "objective": objective,
        "max_rules": max_rules,
        "min_macs": min_macs,
        "max_macs": max_macs,
        "genome": genome,
        "start": start,
        **({} if fewest_steps is None else {"fewest_steps": fewest_steps}),
        "rotate": rotate,
        # Going on means going through the same search again, which another version may do differently.
        **{f"version of {name}": version for name, version in versions().items()},
    }
    if workers < 1:
        raise EcadError(f"evolution needs at least one worker, not {workers}")
    judges = _judges(problem, rotate)
    with RunStore(Path(run)) as store, _evaluator(ProblemOnPrompts(problem), workers, ray) as evaluator:
        _keep_what_it_takes(problem, store, settings)
        yield from _Search(space, Measuring(problem, store, evaluator), settings, judges).run()


def _check_steps(fewest: int | None, steps: int, population: int, genome: GenomeKind) -> None:
    if fewest is None:
        return
    if genome == "bits":
        raise EcadError("the number of steps varies for programs alone; leave out genome bits, or fewest_steps")
    if not 2 <= fewest < steps:
        raise EcadError(f"fewest_steps must lie between 2 and {steps - 1}, not {fewest}")
    if population <= steps - fewest:
        count = steps - fewest + 1
        raise EcadError(f"the first population holds each of {count} numbers of steps; make it {count} or more")


def _judges(problem: Problem, rotate: int) -> list[Part | None]:
    """What each generation in turn is measured on: parts of the prompts, or always all that the problem has."""
    if rotate == 1:
        return [None]
    asked = prompted(problem)
    if asked is None:
        raise EcadError("rotate needs a problem that can be had with other prompts; see ecad.Prompted")
    if not 1 < rotate <= len(asked.prompts):
        raise EcadError(
            f"rotate cuts {len(asked.prompts)} prompts into at least 1 part each of 1 or more, not {rotate}"
        )
    return [*parts(asked.prompts, rotate)]


def _evaluator(target: ProblemOnPrompts, workers: int, ray: str | None) -> Evaluator:
    return Workers(target, workers) if ray is None else RayWorkers(target, ray)


def _keep_what_it_takes(problem: Problem, store: RunStore, settings: dict[str, Any]) -> None:
    """Settings, prompts and the model: all that it takes to repeat the run."""
    sets = {CALIBRATION: getattr(problem, "prompts", None), HELD_OUT: getattr(problem, "held_out", None)}
    prompts = {name: replace(kept, name=name) for name, kept in sets.items() if isinstance(kept, PromptSet)}
    changes = [*store.changes(), *store.changed(settings)]
    write_config(store.path.parent, settings, problem.spec, prompts.values(), changes)
    store.keep_settings(settings)
    for name, kept in prompts.items():
        store.keep_prompts(kept, name)


class _Search:
    """A search on its way: what has been found, and how it goes on."""

    def __init__(
        self, space: Space, measuring: Measuring, settings: Mapping[str, Any], judges: Sequence[Part | None]
    ) -> None:
        self.space, self.measuring, self.settings, self.judges = space, measuring, settings, judges
        self.objective: Objective = settings["objective"]
        self.algorithm = _begun(space, settings)
        self.front: tuple[Candidate, ...] = ()
        self.found: dict[str, Candidate] = {}
        self.frame: Frame | None = None
        self.generation = self.evaluated = self.remembered = self.failed = 0

    def run(self) -> Iterator[Progress]:
        for generation in range(self.settings["generations"] + 1):
            self.generation = generation
            asked = self.algorithm.ask()
            if not asked:  # no child that is new could be found
                break
            yield from self._generation(asked, self.judges[self.generation % len(self.judges)])
        if None not in self.judges:
            everything = sorted(position for judge in self.judges if judge for position in judge.positions)
            yield from self._again(Part(CALIBRATION, tuple(everything)))
        if self.objective == "fidelity":
            yield from self._rewards()
        if self.settings["genome"] == "bits":
            self.front = tuple(replace(candidate, program=_decompiled(candidate)) for candidate in self.front)
        yield from self._held_out()
        self._write()

    def _generation(self, asked: Sequence[Genome | BitGenome], judge: Part | None) -> Iterator[Progress]:
        if judge is not None and self.generation > 0:
            yield from self._again(judge)
        evaluations, values = [], []
        for genome, evaluation, quality in self._judged(asked, judge):
            evaluations.append(evaluation)
            values.append(_values(evaluation, quality))
            self.evaluated += 1
            self.remembered += evaluation.generation < self.generation
            self.failed += quality is None
            self._find(genome, evaluation, quality)
            yield self._progress(evaluation)
        self.algorithm.tell(np.array(values))
        self.frame = self.frame or Frame.of([_minimised(c) for c in self.found.values()])
        self.measuring.store.put_generation(self._summary(evaluations))
        self._write()

    def _again(self, judge: Part) -> Iterator[Progress]:
        """Compare the population anew, on other prompts than before."""
        self.front, self.found = (), {}
        values = []
        for genome, evaluation, quality in self._judged(self.algorithm.alive(), judge):
            values.append(_values(evaluation, quality))
            self._find(genome, evaluation, quality)
            yield self._progress(evaluation)
        self.algorithm.tell_again(np.array(values))

    def _judged(
        self, genomes: Sequence[Genome | BitGenome], part: Part | None
    ) -> Iterator[tuple[Genome | BitGenome, Evaluation, float | None]]:
        """Each genome with its evaluation and its quality on these prompts."""
        begun = [self.measuring.begun(genome, self.generation) for genome in genomes]
        schedules = [genome.schedule for genome in genomes]
        evaluations = self.measuring.measured(begun, schedules, self.objective, part)
        for genome, evaluation in zip(genomes, evaluations, strict=True):
            yield genome, evaluation, self.measuring.mean(evaluation, self.objective, part)

    def _rewards(self) -> Iterator[Progress]:
        """Tell the most promising apart by reward."""
        chosen = _promising(tuple(self.found.values()), self.space) or self.front  # nothing bred: those written by hand
        self.front = ()
        for count, (candidate, evaluation) in enumerate(self._remeasured(chosen, "reward"), start=1):
            reward = evaluation.reward
            if reward is None:
                self.failed += 1
            else:
                self.front = _with_candidate(self.front, replace(candidate, quality=reward, reward=reward))
            yield self._progress(evaluation, rewarded=count, to_reward=len(chosen))

    def _held_out(self) -> Iterator[Progress]:
        """Measure the front on what the search has not seen."""
        unseen = self.measuring.store.prompts(HELD_OUT)
        if not len(unseen):
            return
        part = Part(HELD_OUT, tuple(range(len(unseen))))
        judged: list[Candidate] = []
        for candidate, evaluation in self._remeasured(self.front, "reward", part):
            values = self.measuring.store.values(candidate.schedule.key, "reward", HELD_OUT)
            judged.append(replace(candidate, held_out=judgement(list(values.values()))))
            front = (*judged, *self.front[len(judged) :])
            yield replace(self._progress(evaluation, judged=len(judged), to_judge=len(front)), front=front)
        self.front = tuple(judged)

    def _remeasured(
        self, candidates: Sequence[Candidate], quantity: str, part: Part | None = None
    ) -> Iterator[tuple[Candidate, Evaluation]]:
        """Each candidate with one more quantity of it known, or with one known on other prompts."""
        schedules = [candidate.schedule for candidate in candidates]
        begun = [known for schedule in schedules if (known := self.measuring.store.find(schedule.key))]
        return zip(candidates, self.measuring.measured(begun, schedules, quantity, part), strict=True)

    def _find(self, genome: Genome | BitGenome, evaluation: Evaluation, quality: float | None) -> None:
        if quality is not None:
            self.found[genome.key] = candidate = self._candidate(genome, evaluation, quality)
            self.front = _with_candidate(self.front, candidate)

    def _candidate(self, genome: Genome | BitGenome, evaluation: Evaluation, quality: float) -> Candidate:
        return Candidate(
            program=Program(genome.rules),
            schedule=genome.schedule,
            quality=quality,
            reward=quality if self.objective == "reward" else None,
            macs=evaluation.macs,
            generation=evaluation.generation,
            edit=evaluation.edit,
            share=self.space.share(genome.schedule),
        )

    def _progress(self, last: Evaluation, **stage: int) -> Progress:
        return Progress(
            self.generation, self.settings["generations"], self.evaluated, self.remembered, self.failed, last,
            self.front, self._hypervolume() if not stage else 0.0, self.measuring.count, **stage,
        )  # fmt: skip

    def _hypervolume(self) -> float:
        return self.frame.hypervolume([_minimised(c) for c in self.front]) if self.frame else 0.0

    def _summary(self, asked: Sequence[Evaluation]) -> Generation:
        return Generation(
            self.generation,
            evaluated=len(asked),
            remembered=sum(evaluation.generation < self.generation for evaluation in asked),
            failed=sum(self.objective not in evaluation.objectives for evaluation in asked),
            hypervolume=self._hypervolume(),
            seconds=sum(evaluation.seconds for evaluation in asked if evaluation.generation == self.generation),
            front=tuple(candidate.schedule.key for candidate in self.front),
        )

    def _write(self) -> None:
        write_front(self.measuring.store.path.parent / "front", self.front)


def _decompiled(candidate: Candidate) -> Program:
    """A short program for a schedule that was bred as bits."""
    from ecad_dsl.schedule.decompile import decompile

    return decompile(candidate.schedule, effort=EFFORT)


def _values(evaluation: Evaluation, quality: float | None) -> tuple[float, float]:
    """What a search is told, less being better."""
    return FAILED if quality is None else -quality, float(evaluation.macs)


def _minimised(candidate: Candidate) -> tuple[float, float]:
    return -candidate.quality, float(candidate.macs)


def judgement(rewards: Sequence[float]) -> Judgement | None:
    """The verdict of these rewards, each of another prompt; None without any: it failed."""
    values = np.array(rewards)
    return Judgement(float(values.mean()), *interval(values), len(values)) if rewards else None


def _promising(found: tuple[Candidate, ...], space: Space) -> tuple[Candidate, ...]:
    """Bred ones that come closest to the best fidelity of no more MACs: worth telling apart by reward."""

    def behind(candidate: Candidate) -> float:
        return max(c.quality for c in found if c.macs <= candidate.macs) - candidate.quality

    near = [c for c in found if c.generation > 0 and space.holds(c.schedule) and behind(c) <= NEAR]
    return tuple(sorted(sorted(near, key=behind)[:REWARDED], key=lambda c: c.macs))


def _begun(space: Space, settings: Mapping[str, Any]) -> TreeSearch | BitSearch:
    """The search before its first generation."""
    random = np.random.default_rng(settings["seed"])
    size, seed = settings["population"], settings["seed"]
    if (settings["genome"], settings["start"]) == ("bits", "random"):
        return BitSearch(space, random_bits(space, size, random), seed)
    populate = first_population if settings["start"] == "heuristic" else random_population
    first = populate(space, size, random)
    if settings["genome"] == "bits":
        return BitSearch(space, bits_of([genome.schedule for genome in first]), seed)
    return TreeSearch(space, first, lambda schedule: (None, cost(schedule).macs), seed)


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
        Meta("title", f"{origin}: {share(candidate):.1%} of the MACs"),
        Meta("macs", candidate.macs),
        *([] if candidate.reward is None else [Meta("calibration_reward", round(candidate.reward, 4))]),
        *([] if candidate.held_out is None else _held_out_lines(candidate.held_out)),
    )
    return replace(candidate.program, statements=(*header, *candidate.program.statements))


def _held_out_lines(judgement: Judgement) -> Iterator[Meta]:
    yield Meta("held_out_reward", round(judgement.mean, 4))
    yield Meta("held_out_low", round(judgement.low, 4))
    yield Meta("held_out_high", round(judgement.high, 4))
    yield Meta("held_out_prompts", judgement.prompts)


_OWN_NAME = re.compile(r"macs-[0-9]{2,3}\.[0-9]-[0-9a-f]{4}\.ecad")


def file_name(candidate: Candidate) -> str:
    """``macs-NN.N-KEY.ecad``: percent of the MACs of recomputing everything, and the start of the schedule's key."""
    return f"macs-{100 * share(candidate):04.1f}-{candidate.schedule.key[:4]}.ecad"


def write_front(folder: Path, front: tuple[Candidate, ...]) -> None:
    """Write the front's programs in place of an older front's."""
    names = set()
    for candidate in front:
        names.add(file_name(candidate))
        write_text(folder / file_name(candidate), format(published(candidate)))
    for old in folder.glob("macs-*.ecad"):
        if old.name not in names and _OWN_NAME.fullmatch(old.name):
            old.unlink()


def share(candidate: Candidate) -> float:
    """Its MACs as a share of recomputing everything."""
    return 1 - cost(candidate.schedule).saved if candidate.share is None else candidate.share
