"""The search: NSGA-II over programs, quality against what it costs.

Quality is the mean reward, or fidelity: how close pictures come to those without a cache. A reward of few prompts hangs
on the one or two that a schedule happens to spoil; the distance to the uncached picture tells schedules apart with each
prompt, so that fidelity finds the better ones with far fewer pictures. Rewards then tell what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ecad_dsl.errors import EcadError
from ecad_dsl.evolution.bits import BitGenome, BitSearch, bits_of, random_bits
from ecad_dsl.evolution.candidate import Candidate, decompiled, judgement, simplified, write_front
from ecad_dsl.evolution.config import refuse_older, versions, write_config
from ecad_dsl.evolution.genome import Genome, Space
from ecad_dsl.evolution.guess import Array
from ecad_dsl.evolution.hypervolume import Frame, Point
from ecad_dsl.evolution.initial import first_population, random_population
from ecad_dsl.evolution.limits import Limits
from ecad_dsl.evolution.measuring import Measuring, Part, ProblemOnPrompts, known, parts
from ecad_dsl.evolution.objectives import OBJECTIVES, check_use, chosen, point, with_found, with_rewards
from ecad_dsl.evolution.problem import Problem, prompted
from ecad_dsl.evolution.screen import FAILED
from ecad_dsl.evolution.store import CALIBRATION, HELD_OUT, Evaluation, Generation, RunStore
from ecad_dsl.evolution.trees import TreeSearch
from ecad_dsl.language.tree import Program
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.ray_workers import RayWorkers
from ecad_dsl.schedule import format
from ecad_dsl.workers import Evaluator, Workers

Values = Mapping[str, float]
"""By the names of objectives."""
GenomeKind = Literal["trees", "bits"]
Start = Literal["heuristic", "random"]

NEAR = 2.0
"""Promising: so many dB behind the best fidelity of what is no worse in anything else."""
REWARDED = 24
"""At most so many promising candidates have their reward measured."""


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
    missed: str = ""
    """In the very end, where nothing keeps to the limits and the front is empty: by how much the nearest misses."""
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
    objectives: str | Iterable[str] = ("reward", "macs"),
    max_rules: int = 24,
    min_macs: float = 0.0,
    max_macs: float = 1.0,
    min_reward: float | None = None,
    genome: GenomeKind = "trees",
    start: Start = "heuristic",
    fewest_steps: int | None = None,
    rotate: int = 1,
    workers: int = 1,
    ray: str | None = None,
) -> Iterator[Progress]:
    """Search for schedules; yields after every evaluation and can be stopped at any of them.

    ``objectives`` are two or more of ``reward``, ``fidelity``, ``latency``, ``macs``, ``macs_full``, ``cache_bytes``
    and ``rules`` (see ``OBJECTIVES``), one of the first two among them; one of these alone is traded against ``macs``.
    The problem has a method of the same name for each but ``rules``. In a search for fidelity and not for reward, the
    rewards of the most promising candidates are measured last, if the problem tells any, and the front that the search
    ends with has them in place of fidelity.

    The front keeps to ``min_macs`` and ``max_macs``, shares of recomputing everything, and to ``min_reward`` wherever
    rewards are known. The first population is measured whatever it costs, and lends its rules. Where nothing keeps to
    these limits, the front is empty, and the last progress says by how much the nearest candidate has missed them.

    Genomes are programs (``trees``), or one bit for each cell with the operators of the ECAD paper (``bits``); those of
    the front are written as programs. The first population is hand-made (``heuristic``), filled up with random
    programs, or ``random``.

    With ``fewest_steps``, programs may run with fewer steps than the problem's, down to so many: as the search finds
    best. The hand-made first population has every number of steps without a cache. Not for ``bits``.

    With ``rotate`` more than one, the calibration prompts are cut into so many parts, and each generation measures on
    the next of them: its children, and once more their parents, so that all rivals are compared on the same prompts and
    nothing survives for long that only suits a few. The last population is measured on all of them.

    Where the problem has held-out prompts (see ``Prompted``), the front is measured on these in the very end.

    With ``workers`` more than one, candidates are measured side by side in so many processes, each with a copy of the
    problem (see ``Workers``). With ``ray``, an address or ``"local"``, they are measured by the actors of a Ray cluster
    (see ``RayWorkers``). What is found depends on neither, but for ``latency``, which differs each time it is measured.

    Called again with the same settings and run folder, it goes on where it was stopped and ends with the front of an
    uninterrupted run. ``run/front/*.ecad`` is written anew after each generation.

    Raises:
        EcadError: the run folder cannot be used, or was started with other settings; the problem does not tell what
            is asked for.
    """
    if population < 2 or generations < 0:
        raise EcadError("evolution needs a population of at least 2 and no fewer than 0 generations")
    if workers < 1:
        raise EcadError(f"evolution needs at least one worker, not {workers}")
    if genome not in get_args(GenomeKind) or start not in get_args(Start):
        raise EcadError(f"genome is trees or bits and start heuristic or random, not {genome!r} and {start!r}")
    limits = Limits(min_macs, max_macs, min_reward)
    names = chosen(objectives)
    _check_objectives(problem, names, limits)
    check_steps(fewest_steps, problem.steps, population, genome)
    check_use(names, genome, workers)
    judges = _judges(problem, rotate)
    space = Space(problem.spec, problem.steps, max_rules, min_macs, max_macs, fewest_steps, problem.macs)
    settings = {
        **{
            f"problem {name}": value if value is None else _kept(name, value)
            for name, value in problem.settings.items()
        },
        "population": population,
        "generations": generations,
        "seed": seed,
        "objectives": ",".join(names),
        "max_rules": max_rules,
        "min_macs": min_macs,
        "max_macs": max_macs,
        "min_reward": min_reward,
        "genome": genome,
        "start": start,
        "fewest_steps": fewest_steps,
        "rotate": rotate,
        "all_macs": space.all_macs,
        # Going on means going through the same search again, which another version may do differently.
        **{f"version of {name}": version for name, version in versions().items()},
    }
    with RunStore(Path(run)) as store, _evaluator(ProblemOnPrompts(problem), workers, ray) as evaluator:
        _keep_what_it_takes(problem, store, settings)
        yield from _Search(space, Measuring(problem, store, evaluator), settings, judges).run()


def _check_objectives(problem: Problem, names: Sequence[str], limits: Limits) -> None:
    for name in names:
        if OBJECTIVES[name].source != "program" and not hasattr(problem, name):
            raise EcadError(
                f"the problem has no method {name}(schedule), which a search for {', '.join(names)} asks for"
            )
    if limits.min_reward is not None and not hasattr(problem, "reward"):
        raise EcadError("the problem has no method reward(schedule), which min_reward asks for")


def check_steps(fewest: int | None, steps: int, population: int, genome: str) -> None:
    """Refuse numbers of steps that cannot be left to a search.

    Raises:
        EcadError: bits have one number of steps; there are no such numbers, or more than the first population holds.
    """
    if fewest is None:
        return
    if genome == "bits":
        raise EcadError("the number of steps varies for programs alone; leave out genome bits, or the fewest steps")
    if not 2 <= fewest < steps:
        raise EcadError(f"the fewest steps are at least 2 and less than the most, {steps}, not {fewest}")
    if population <= steps - fewest:
        count = steps - fewest + 1
        raise EcadError(f"the first population has each of {count} numbers of steps; make population {count} or more")


def _kept(name: str, value: object) -> object:
    """A setting of the problem as the run folder gives it back."""
    if isinstance(value, (list, tuple)):
        return [_kept(name, part) for part in value]
    if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise EcadError(f"the problem's setting {name} is {value!r}; a run keeps texts, finite numbers and lists of these")


def _judges(problem: Problem, rotate: int) -> list[Part | None]:
    """What each generation in turn is measured on: parts of the prompts, or always all that the problem has."""
    if rotate == 1:
        return [None]
    asked = prompted(problem)
    if asked is None:
        raise EcadError("rotate needs a problem that can be had with other prompts; see ecad.Prompted")
    check_rotation(rotate, len(asked.prompts))
    return [*parts(asked.prompts, rotate)]


def check_rotation(rotate: int, prompts: int) -> None:
    """Refuse to cut so many prompts into parts without any.

    Raises:
        EcadError: there are fewer prompts than parts, or no parts.
    """
    if not 1 <= rotate <= prompts:
        raise EcadError(
            f"{prompts} prompts are cut into no more than {prompts} parts and no fewer than 1, not {rotate}"
        )


def _evaluator(target: ProblemOnPrompts, workers: int, ray: str | None) -> Evaluator:
    return Workers(target, workers) if ray is None else RayWorkers(target, ray)


def _keep_what_it_takes(problem: Problem, store: RunStore, settings: dict[str, Any]) -> None:
    """Settings, prompts and the model: all that it takes to repeat the run."""
    sets = {CALIBRATION: getattr(problem, "prompts", None), HELD_OUT: getattr(problem, "held_out", None)}
    prompts = {name: replace(kept, name=name) for name, kept in sets.items() if isinstance(kept, PromptSet)}
    refuse_older(store.path.parent, store.settings())
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
        self.objectives = chosen(settings["objectives"])
        self.measured = [name for name in self.objectives if OBJECTIVES[name].is_measured]
        self.limits = Limits.of(settings)
        # What is written by hand is short: longer programs count, too.
        self.worst = [space.max_rules + 1.0 if name == "rules" else None for name in self.objectives]
        self.algorithm = self._begun()
        self.front: tuple[Candidate, ...] = ()
        self.found: dict[str, Candidate] = {}
        self.shortest: dict[tuple[str, int], Program] = {}
        self.frame: Frame | None = None
        self.generation = self.evaluated = self.remembered = self.failed = 0

    def _begun(self) -> TreeSearch | BitSearch:
        """The search before its first generation."""
        space, settings, count = self.space, self.settings, len(self.objectives)
        size, seed = settings["population"], settings["seed"]
        random = np.random.default_rng(seed)
        if (settings["genome"], settings["start"]) == ("bits", "random"):
            return BitSearch(space, random_bits(space, size, random), seed, count)
        populate = first_population if settings["start"] == "heuristic" else random_population
        first = populate(space, size, random)
        if settings["genome"] == "bits":
            return BitSearch(space, bits_of([genome.schedule for genome in first]), seed, count)
        least = self.limits.min_reward
        limits = [-least if name == "reward" and least is not None else math.inf for name in self.objectives]
        return TreeSearch(space, first, self._known, seed, worst=self.worst, limits=limits)

    def run(self) -> Iterator[Progress]:
        for generation in range(self.settings["generations"] + 1):
            self.generation = generation
            asked = self.algorithm.ask()
            self._shorten(self.algorithm.shortened())
            if not asked:  # no child that is new could be found
                break
            yield from self._generation(asked, self.judges[self.generation % len(self.judges)])
        if None not in self.judges:
            everything = sorted(position for judge in self.judges if judge for position in judge.positions)
            yield from self._again(Part(CALIBRATION, tuple(everything)))
        if "reward" not in self.objectives and hasattr(self.measuring.problem, "reward"):
            yield from self._rewards()
        if self.settings["genome"] == "bits":
            self.front = tuple(candidate.by(decompiled(candidate.schedule)) for candidate in self.front)
        self.front = self._written()
        yield from self._held_out()
        write_front(self._folder, self.front)
        yield from self._missed()

    def _generation(self, asked: Sequence[Genome | BitGenome], judge: Part | None) -> Iterator[Progress]:
        if judge is not None and self.generation > 0:
            yield from self._again(judge)
        evaluations, told = [], []
        for genome, evaluation, values in self._judged(asked, judge):
            evaluations.append(evaluation)
            told.append(values)
            self.evaluated += 1
            self.remembered += evaluation.generation < self.generation
            self.failed += values is None
            self._find(genome, evaluation, values)
            yield self._progress(evaluation)
        self.algorithm.tell(*self._told(asked, told))
        if self.found:  # unless all have failed so far
            self.frame = self.frame or self._framed()
        self.measuring.store.put_generation(self._summary(evaluations))
        write_front(self._folder, self._written())

    def _again(self, judge: Part) -> Iterator[Progress]:
        """Compare the population anew, on other prompts than before."""
        self.front, self.found = (), {}
        alive, told = self.algorithm.alive(), []
        for genome, evaluation, values in self._judged(alive, judge):
            told.append(values)
            self._find(genome, evaluation, values)
            yield self._progress(evaluation)
        self.algorithm.tell_again(*self._told(alive, told))

    def _judged(
        self, genomes: Sequence[Genome | BitGenome], part: Part | None
    ) -> Iterator[tuple[Genome | BitGenome, Evaluation, Values | None]]:
        """Each genome with its evaluation, and with all that is known of it on these prompts: None if it failed."""
        begun = [self.measuring.begun(genome, self.generation) for genome in genomes]
        schedules = [genome.schedule for genome in genomes]
        evaluations = self.measuring.measured(begun, schedules, self.measured, part)
        for genome, evaluation in zip(genomes, evaluations, strict=True):
            values: dict[str, float] = {**known(self.measuring.problem, genome)}
            for name in self.measured:
                mean = self.measuring.mean(evaluation, name, part)
                if mean is not None:
                    values[name] = mean
            yield genome, evaluation, values if values.keys() >= {*self.measured} else None

    def _told(self, genomes: Sequence[Genome | BitGenome], told: Sequence[Values | None]) -> tuple[Array, Array]:
        """What the algorithm is told: objectives, and by how much each genome misses the limits."""
        failed = (FAILED,) * len(self.objectives)
        points = [failed if values is None else point(values, self.objectives) for values in told]
        violations = [
            FAILED if values is None else self.limits.violation(self.space.share(genome.schedule), values)
            for genome, values in zip(genomes, told, strict=True)
        ]
        return np.array(points), np.array(violations)

    def _rewards(self) -> Iterator[Progress]:
        """Tell the most promising apart by reward."""
        promising = self._promising() or self.front  # nothing bred: those written by hand
        if not promising:
            return
        self.objectives = with_rewards(self.objectives)
        self.front, self.found = (), {}
        for count, (candidate, evaluation) in enumerate(self._remeasured(promising, "reward"), start=1):
            reward = evaluation.reward
            if reward is None:
                self.failed += 1
            else:
                self._add(replace(candidate, objectives={**candidate.objectives, "reward": reward}))
            yield self._progress(evaluation, rewarded=count, to_reward=len(promising))

    def _promising(self) -> tuple[Candidate, ...]:
        """Bred ones that come closest to the best fidelity of what is no worse in anything else."""
        kept = [candidate for candidate in self.found.values() if self._keeps(candidate)]
        others = [name for name in self.objectives if name != "fidelity"]
        costs = np.array([point(candidate.objectives, others) for candidate in kept])
        fidelity = np.array([candidate.objectives["fidelity"] for candidate in kept])
        behind = [
            float(fidelity[(costs <= own).all(1)].max() - mine) for own, mine in zip(costs, fidelity, strict=True)
        ]
        near = sorted((far, index) for index, far in enumerate(behind) if kept[index].generation > 0 and far <= NEAR)
        return tuple(sorted((kept[index] for _, index in near[:REWARDED]), key=lambda c: c.macs))

    def _held_out(self) -> Iterator[Progress]:
        """Measure the front on what the search has not seen."""
        unseen = self.measuring.store.prompts(HELD_OUT)
        if not len(unseen):
            return
        quantity = "reward" if hasattr(self.measuring.problem, "reward") else "fidelity"
        part = Part(HELD_OUT, tuple(range(len(unseen))))
        judged: list[Candidate] = []
        for candidate, evaluation in self._remeasured(self.front, quantity, part):
            values = self.measuring.store.values(candidate.schedule.key, quantity, HELD_OUT)
            judged.append(replace(candidate, held_out=judgement(quantity, list(values.values()))))
            front = (*judged, *self.front[len(judged) :])
            yield replace(self._progress(evaluation, judged=len(judged), to_judge=len(front)), front=front)
        self.front = tuple(judged)

    def _missed(self) -> Iterator[Progress]:
        """Nothing keeps to the limits: say how near to them the search has come."""
        if self.front or not self.found:
            return
        nearest = min(self.found.values(), key=lambda c: self.limits.violation(c.share, c.objectives))
        evaluation = self.measuring.store.find(nearest.schedule.key)
        assert evaluation is not None
        missed = self.limits.missed(nearest.share, nearest.objectives)
        yield replace(self._progress(evaluation), missed=f"{nearest.schedule.key[:8]} has {missed}")

    def _remeasured(
        self, candidates: Sequence[Candidate], quantity: str, part: Part | None = None
    ) -> Iterator[tuple[Candidate, Evaluation]]:
        """Each candidate with one more quantity of it known, or with one known on other prompts."""
        schedules = [candidate.schedule for candidate in candidates]
        begun = [found for schedule in schedules if (found := self.measuring.store.find(schedule.key))]
        return zip(candidates, self.measuring.measured(begun, schedules, [quantity], part), strict=True)

    def _shorten(self, genomes: Sequence[Genome | BitGenome]) -> None:
        """Take over shorter programs for schedules that were measured before."""
        store = self.measuring.store
        for genome in genomes:
            rules = {"rules": len(genome.rules)}
            stored = store.find(genome.key)
            # A resumed run may know an even shorter one, which it will come to later.
            if stored is not None and rules["rules"] < stored.objectives["rules"]:
                text = format(genome.program)
                store.put(replace(stored, program=text, objectives={**stored.objectives, **rules}))
            if genome.key in self.found:
                self.found[genome.key] = self.found[genome.key].by(Program(genome.rules))
        # None of the others can have come onto the front by this.
        changed = [self.found[genome.key] for genome in genomes if genome.key in self.found]
        self.front = self._front_of([*(self.found[c.schedule.key] for c in self.front), *changed])

    def _find(self, genome: Genome | BitGenome, evaluation: Evaluation, values: Values | None) -> None:
        if values is not None:
            share = self.space.share(genome.schedule)
            program = Program(genome.rules)
            self._add(Candidate(program, genome.schedule, values, share, evaluation.generation, evaluation.edit))

    def _add(self, candidate: Candidate) -> None:
        self.found[candidate.schedule.key] = candidate
        if self._keeps(candidate):
            self.front = _in_order(with_found(self.front, candidate, self._at))

    def _front_of(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Those that keep to the limits and that none of the others beats, the cheapest first."""
        front: tuple[Candidate, ...] = ()
        for candidate in filter(self._keeps, candidates):
            front = with_found(front, candidate, self._at)
        return _in_order(front)

    def _keeps(self, candidate: Candidate) -> bool:
        return not self.limits.violation(candidate.share, candidate.objectives)

    def _at(self, candidate: Candidate) -> Point:
        return point(candidate.objectives, self.objectives)

    def _written(self) -> tuple[Candidate, ...]:
        """The front by programs that are worth reading, less what is beaten by those that have become shorter."""
        front = tuple(map(self._as_written, self.front))
        return self._front_of(front) if "rules" in self.objectives else front

    def _as_written(self, candidate: Candidate) -> Candidate:
        """By a program that is worth reading; what was bred as bits has none before the end."""
        if self.settings["genome"] == "bits":
            return candidate
        key = candidate.schedule.key
        if (key, len(candidate.program.rules)) not in self.shortest:
            short = simplified(candidate.program, candidate.schedule)
            self.shortest[key, len(candidate.program.rules)] = self.shortest[key, len(short.rules)] = short
        return candidate.by(self.shortest[key, len(candidate.program.rules)])

    def _known(self, genome: Genome) -> list[float | None]:
        """The objectives of a genome, each the less the better, as far as they need not be measured."""
        values = known(self.measuring.problem, genome, self.objectives)
        return [OBJECTIVES[name].minimised(values[name]) if name in values else None for name in self.objectives]

    def _progress(self, last: Evaluation, **stage: Any) -> Progress:
        return Progress(
            self.generation, self.settings["generations"], self.evaluated, self.remembered, self.failed, last,
            self._written(), self._hypervolume() if not stage else 0.0, measured=self.measuring.count, **stage,
        )  # fmt: skip

    def _framed(self) -> Frame:
        """The box around what has been found."""
        frame = Frame.of([self._at(candidate) for candidate in self.found.values()])
        worst = zip(self.worst, frame.worst, strict=True)
        return replace(frame, worst=tuple(found if given is None else given for given, found in worst))

    def _hypervolume(self) -> float:
        return self.frame.hypervolume([self._at(candidate) for candidate in self.front]) if self.frame else 0.0

    def _summary(self, asked: Sequence[Evaluation]) -> Generation:
        return Generation(
            self.generation,
            evaluated=len(asked),
            remembered=sum(evaluation.generation < self.generation for evaluation in asked),
            failed=sum(not evaluation.objectives.keys() >= {*self.measured} for evaluation in asked),
            hypervolume=self._hypervolume(),
            seconds=sum(evaluation.seconds for evaluation in asked if evaluation.generation == self.generation),
            front=tuple(candidate.schedule.key for candidate in self.front),
        )

    @property
    def _folder(self) -> Path:
        return self.measuring.store.path.parent / "front"


def _in_order(front: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The cheapest first."""
    return tuple(sorted(front, key=lambda candidate: (candidate.macs, candidate.quality)))
