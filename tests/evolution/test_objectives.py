"""Objectives, limits and short programs: what the front that a search ends with is, whatever it was for."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl import EcadError
from ecad_dsl.evolution.candidate import Candidate, simplified
from ecad_dsl.evolution.genome import Space
from ecad_dsl.evolution.limits import Limits
from ecad_dsl.evolution.objectives import OBJECTIVES, QUALITIES, chosen, point, with_found
from ecad_dsl.evolution.problem import PipelineProblem
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import calibration
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.schedule import Schedule, compile, cost, load, parse
from tests.evolution.synthetic import Synthetic, SyntheticPrompts

SMALL = {"population": 6, "generations": 2, "seed": 3}
NAMES = st.lists(st.sampled_from([*OBJECTIVES]), min_size=1, max_size=7, unique=True)
SETS = NAMES.filter(lambda names: {*QUALITIES} & {*names})


class Telling(Synthetic):
    """Tells all that there may be objectives for; pictures are spoilt another way for fidelity than for reward."""

    def fidelity(self, schedule: Schedule) -> float:
        return 40 * self.reward(schedule) - sum(1 for row in schedule.rows if row % 7 == 3)

    def latency(self, schedule: Schedule) -> float:
        return sum(0.2 + bool(row) for row in schedule.rows) / (1.2 * schedule.steps)

    def macs_full(self, schedule: Schedule) -> int:
        return cost(schedule).macs_full

    def cache_bytes(self, schedule: Schedule) -> int:
        return 2 * cost(schedule).cache_elements


def beats(one: Mapping[str, float], other: Mapping[str, float], names: Sequence[str]) -> bool:
    here, there = point(one, names), point(other, names)
    return here != there and all(a <= b for a, b in zip(here, there, strict=True))


@given(SETS)
def test_objectives_have_one_order_however_they_are_named(names: list[str]) -> None:
    told = chosen(names)
    assert told == chosen(",".join(reversed(names))) == chosen(told)
    assert {*told} == {*names} | ({"macs"} if len(names) == 1 else set())
    assert [*told] == [name for name in OBJECTIVES if name in told]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("reward,speed", "no objective 'speed'; there are: reward, fidelity, latency, macs, macs_full, cache_bytes"),
        ("reward,macs,reward", "reward is named twice"),
        ("macs,rules", "name reward or fidelity"),
        ("", "no objective ''"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(EcadError, match=message):
        next(evolve(Telling(), tmp_path / "run", objectives=names))
    assert not (tmp_path / "run").exists()


def test_what_a_problem_does_not_tell_and_bits_do_not_have_is_refused(tmp_path: Path) -> None:
    class Careless:
        spec, steps, settings = Synthetic().spec, 20, {"problem": "careless"}

        def fidelity(self, schedule: Schedule) -> float:
            return 0.0

        def macs(self, schedule: Schedule) -> int:
            return cost(schedule).macs

    with pytest.raises(EcadError, match="no method cache_bytes"):
        next(evolve(Synthetic(), tmp_path, objectives="reward,cache_bytes"))
    with pytest.raises(EcadError, match="no method reward"):
        next(evolve(Careless(), tmp_path, objectives="fidelity", min_reward=0.1))
    with pytest.raises(EcadError, match="bits have no rules"):
        next(evolve(Telling(), tmp_path, objectives="reward,rules", genome="bits"))
    with pytest.raises(EcadError, match="disturb each other's timing"):
        next(evolve(Telling(), tmp_path, objectives="reward,latency", workers=100))


@given(
    st.lists(st.tuples(*[st.integers(0, 4)] * 4), min_size=1, max_size=30),
    st.sets(st.integers(0, 3), min_size=1, max_size=3),
    st.integers(0, 3),
)
def test_an_objective_more_takes_no_trade_off_from_a_front(
    points: list[tuple[int, ...]], which: set[int], more: int
) -> None:
    def front(axes: set[int]) -> list[tuple[int, ...]]:
        found: tuple[tuple[int, ...], ...] = ()
        for new in points:
            found = with_found(found, new, lambda p: tuple(float(p[axis]) for axis in sorted(axes)))
        return [tuple(p[axis] for axis in sorted(which)) for p in found]

    fewer = front(which)
    assert set(fewer) <= set(front(which | {more}))
    assert len(set(fewer)) == len(fewer)
    for one, other in itertools.permutations(fewer, 2):
        assert any(a > b for a, b in zip(one, other, strict=True))
    everything = {tuple(p[axis] for axis in sorted(which)) for p in points}
    assert all(any(all(a <= b for a, b in zip(p, q, strict=True)) for p in fewer) for q in everything)


@settings(max_examples=5, deadline=None)
@given(SETS, st.sampled_from([{}, {"max_macs": 0.6}, {"min_macs": 0.3, "min_reward": 0.2}]))
def test_a_front_is_what_no_feasible_candidate_beats_in_any_of_the_objectives(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], asked: dict[str, float]
) -> None:
    run = tmp_path_factory.mktemp("run")
    *_, last = evolve(Telling(), run, objectives=names, **SMALL, **asked)
    told = chosen(names)
    by = told if "reward" in told else tuple("reward" if name == "fidelity" else name for name in told)
    limits = Limits(**asked)
    with RunStore(run, create=False) as store:
        everything, evaluations = store.settings()["all_macs"], store.evaluations()
    for candidate in last.front:
        assert candidate.share == candidate.macs / everything
        assert limits.violation(candidate.share, candidate.objectives) == 0
        assert candidate.objectives.keys() >= {*told, *by, "macs_full", "cache_bytes", "rules"}
        assert candidate.objectives["rules"] == len(candidate.program.rules)
        assert compile(candidate.program, Telling().spec, 20).key == candidate.schedule.key
    for one, other in itertools.permutations(last.front, 2):
        assert not beats(one.objectives, other.objectives, by)
    on_front = {candidate.schedule.key for candidate in last.front}
    kept = [e for e in evaluations if e.objectives.keys() >= {*by} and e.key not in on_front]
    for evaluation in kept:
        share = evaluation.macs / everything
        if not limits.violation(share, evaluation.objectives):
            assert any(
                beats(c.objectives, evaluation.objectives, by)
                or point(c.objectives, by) == point(evaluation.objectives, by)
                for c in last.front
            )


def test_bits_keep_to_limits_too(tmp_path: Path) -> None:
    found = evolve(Telling(), tmp_path, genome="bits", population=10, generations=3, seed=1, max_macs=0.5)
    *_, last = found
    assert last.front
    assert all(candidate.share <= 0.5 for candidate in last.front)
    with RunStore(tmp_path, create=False) as store:
        everything = store.settings()["all_macs"]
        shares = {e.key: e.macs / everything for e in store.evaluations()}
        fronts = [generation.front for generation in store.generations()]
    assert any(share > 0.5 for share in shares.values())
    assert all(shares[key] <= 0.5 for front in fronts for key in front)


@pytest.mark.parametrize("names", ["reward,macs", "fidelity,macs"])
def test_where_nothing_keeps_to_the_limits_the_nearest_is_told_and_nothing_is_lost(tmp_path: Path, names: str) -> None:
    *before, last = evolve(Telling(), tmp_path, objectives=names, **SMALL, min_reward=1.5, max_macs=0.9)
    assert last.front == ()
    assert all(progress.missed == "" for progress in before)
    with RunStore(tmp_path, create=False) as store:
        evaluations, everything = store.evaluations(), store.settings()["all_macs"]
    limits = Limits(0.0, 0.9, 1.5)
    misses = {e.key: limits.violation(e.macs / everything, e.objectives) for e in evaluations if e.reward is not None}
    nearest = min(misses, key=lambda key: misses[key])
    assert last.missed.startswith(f"{nearest[:8]} has ")
    assert "at least 1.5 is asked for" in last.missed
    assert len(evaluations) == last.evaluated
    problem = Telling()
    *_, again = evolve(problem, tmp_path, objectives=names, **SMALL, min_reward=1.5, max_macs=0.9)
    assert (again.missed, problem.measured) == (last.missed, 0)


@given(st.floats(0, 1), st.floats(-3, 3), st.floats(-3, 3))
def test_limits_are_missed_by_as_much_as_is_said(share: float, reward: float, least: float) -> None:
    limits = Limits(0.25, 0.5, least)
    missed = limits.violation(share, {"reward": reward})
    assert missed == pytest.approx(max(0, share - 0.5) + max(0, 0.25 - share) + max(0, least - reward))
    assert (missed == 0) == (limits.missed(share, {"reward": reward}) == "")
    assert limits.violation(share, {}) == pytest.approx(max(0, share - 0.5, 0.25 - share))


def tables(run: Path) -> object:
    """All that a run has come to, times left out."""
    with RunStore(run, create=False) as store:
        evaluations = sorted((replace(e, seconds=0.0) for e in store.evaluations()), key=lambda e: e.key)
        generations = [replace(g, seconds=0.0) for g in store.generations()]
    return evaluations, generations, {file.name: file.read_text() for file in (run / "front").iterdir()}


def test_a_run_with_three_objectives_stopped_anywhere_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    asked = {"objectives": "reward,macs,rules", "population": 6, "generations": 4, "seed": 2}
    whole = list(evolve(Telling(), tmp_path / "whole", **asked))
    for stop in (4, 15, len(whole) - 1):
        run = tmp_path / str(stop)
        search = evolve(Telling(), run, **asked)
        for _ in range(stop):
            next(search)
        search.close()
        problem = Telling()
        resumed = list(evolve(problem, run, **asked))
        assert [p.front for p in resumed] == [p.front for p in whole]
        assert problem.measured == len(whole) - stop
        assert tables(run) == tables(tmp_path / "whole")


def test_changed_objectives_and_limits_are_refused_by_name(tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(evolve(Telling(), run, **SMALL))
    with pytest.raises(EcadError, match="objectives was reward,macs, now reward,rules"):
        next(evolve(Telling(), run, **SMALL, objectives="rules,reward"))
    with pytest.raises(EcadError, match=r"min_reward was None, now 0\.5"):
        next(evolve(Telling(), run, **SMALL, min_reward=0.5))
    with RunStore(run) as store:
        store.keep_settings({"objective": "reward"})
    with pytest.raises(EcadError, match="started by an older ecad"):
        next(evolve(Telling(), run, **SMALL))


def test_programs_are_as_short_as_is_known_mean_what_was_measured_and_cost_nothing(tmp_path: Path) -> None:
    problem = Telling()
    *_, last = evolve(problem, tmp_path, population=12, generations=6, seed=0)
    with RunStore(tmp_path, create=False) as store:
        evaluations = store.evaluations()
    assert problem.measured == len(evaluations) == last.evaluated
    for evaluation in evaluations:
        program = parse(evaluation.program)
        assert compile(program, problem.spec, 20).key == evaluation.key
        assert len(program.rules) == evaluation.objectives["rules"]
    rules = {evaluation.key: evaluation.objectives["rules"] for evaluation in evaluations}
    for candidate in last.front:
        assert len(candidate.program.rules) <= rules[candidate.schedule.key]
    by_key = {candidate.schedule.key: candidate for candidate in last.front}
    for file in (tmp_path / "front").iterdir():
        program = load(file)
        key = compile(program).key
        assert len(program.rules) == len(by_key.pop(key).program.rules)
    assert not by_key
    long = parse("reuse cross at step 3\nrecompute cross at step 3\ncache all every 2 steps\nreuse self at step 4")
    meant = compile(long, Telling().spec, 20)
    short = simplified(long, meant)
    assert len(short.rules) == 2
    assert short.model is short.steps is None
    assert compile(short, meant.spec, 20).key == meant.key


def test_a_model_whose_spec_has_no_costs_is_searched_by_the_macs_of_its_problem(tmp_path: Path) -> None:
    class Own(Synthetic):
        def __init__(self) -> None:
            super().__init__()
            self.spec = replace(self.spec, name="mine", inputs={})

        def macs(self, schedule: Schedule) -> int:
            return 7 * schedule.recomputed + 3 * schedule.steps

    problem = Own()
    assert not problem.spec.has_costs
    everything = problem.macs(compile(parse(""), problem.spec, 20))
    *_, last = evolve(problem, tmp_path, **SMALL, objectives="reward,macs,rules", max_macs=0.8)
    assert last.front
    for candidate in last.front:
        assert candidate.share == problem.macs(candidate.schedule) / everything <= 0.8
        file = tmp_path / "front" / f"macs-{100 * candidate.share:04.1f}-{candidate.schedule.key[:4]}.ecad"
        assert load(file).meta["macs"] == candidate.macs
    space = Space(problem.spec, 20, fewest_steps=10, macs=problem.macs)
    assert space.at(10).all_macs == everything / 2


def test_a_problem_without_rewards_is_searched_and_judged_by_fidelity(tmp_path: Path) -> None:
    class Likeness:
        def __init__(self, whole: SyntheticPrompts) -> None:
            self._whole = whole
            self.spec, self.steps, self.settings = whole.spec, whole.steps, {"problem": "likeness"}
            self.prompts, self.held_out = whole.prompts, whole.held_out

        def on(self, prompts: object) -> "Likeness":
            return Likeness(self._whole.on(prompts))  # type: ignore[arg-type]

        def fidelity(self, schedule: Schedule) -> list[float]:
            return self._whole.fidelity(schedule)

        def macs(self, schedule: Schedule) -> int:
            return self._whole.macs(schedule)

    *progress, last = evolve(Likeness(SyntheticPrompts()), tmp_path, objectives="fidelity", **SMALL)
    assert not any(p.to_reward for p in progress)
    assert last.judged == len(last.front) > 1
    for candidate in last.front:
        assert candidate.reward is None
        assert candidate.quality == candidate.fidelity
        assert candidate.held_out is not None
        assert candidate.held_out.quantity == "fidelity"
    for file in (tmp_path / "front").iterdir():
        assert {"calibration_fidelity", "held_out_fidelity"} <= load(file).meta.keys()


def test_in_rotation_time_is_measured_once(tmp_path: Path) -> None:
    class Timed(SyntheticPrompts):
        times = 0

        def latency(self, schedule: Schedule) -> float:
            Timed.times += 1
            return schedule.recomputed / (schedule.steps * schedule.spec.cells)

    *_, last = evolve(Timed(), tmp_path, objectives="reward,latency", rotate=2, **SMALL)
    with RunStore(tmp_path, create=False) as store:
        assert Timed.times == len(store.evaluations())
    assert all(0 < candidate.objectives["latency"] <= 1 for candidate in last.front)


def test_a_pipeline_tells_all_objectives(pipe: ReferencePipeline) -> None:
    problem = PipelineProblem(reference_sampler(pipe, calibration(2)), steps=4)
    plain, cached = (compile(parse(text), problem.spec, 4) for text in ("", "cache all every 2 steps"))
    assert problem.macs_full(cached) == cost(cached).macs_full < problem.macs_full(plain)
    assert problem.cache_bytes(plain) == 0
    assert problem.cache_bytes(cached) == 4 * cost(cached).cache_elements
    for schedule in (plain, cached):
        assert 0 < problem.latency(schedule) < math.inf


def test_objectives_and_limits_are_in_what_a_run_says_of_itself(tmp_path: Path) -> None:
    list(evolve(Telling(), tmp_path, objectives="rules,reward,macs_full", min_reward=-5, **SMALL))
    with RunStore(tmp_path, create=False) as store:
        said = store.settings()
        one = store.evaluations()[0]
    assert (said["objectives"], said["min_reward"]) == ("reward,macs_full,rules", -5)
    assert one.objectives.keys() == {"reward", "macs", "macs_full", "cache_bytes", "rules"}
    assert json.loads(json.dumps(said)) == said


def test_a_candidate_is_as_good_as_its_reward_or_else_its_fidelity() -> None:
    schedule = compile(parse(""), Synthetic().spec, 2)
    candidate = Candidate(parse(""), schedule, {"fidelity": 30.0, "macs": 5}, 1.0, 0, "none")
    assert candidate.quality == 30
    assert replace(candidate, objectives={**candidate.objectives, "reward": 0.5}).quality == 0.5
