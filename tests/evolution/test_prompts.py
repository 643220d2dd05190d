"""Parts of the prompts in turn, and the prompts that a search has not seen."""

from pathlib import Path

import numpy as np
import pytest

from ecad_dsl import EcadError
from ecad_dsl.evolution.problem import PipelineProblem
from ecad_dsl.evolution.search import Progress, evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import calibration, held_out
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.schedule import compile, load, parse
from tests.evolution.synthetic import Synthetic, SyntheticPrompts, numbered

SETTINGS = {"population": 8, "generations": 4, "seed": 3}


def figures(progress: Progress) -> list[tuple[object, ...]]:
    return [(c.quality, c.reward, c.macs, c.held_out) for c in progress.front]


def test_the_front_ends_with_rewards_on_prompts_that_the_search_has_not_seen(tmp_path: Path) -> None:
    *_, last = evolve(SyntheticPrompts(), tmp_path, **SETTINGS)
    assert last.judged == last.to_judge == len(last.front) > 1
    with RunStore(tmp_path, create=False) as store:
        seen, unseen = store.measurements("reward"), store.measurements("reward", "held-out")
        assert store.prompts("held-out").seeds == tuple(range(100, 108))
    assert unseen.keys() == {candidate.schedule.key for candidate in last.front}
    assert all(list(values) == list(range(6)) for values in seen.values())
    for candidate in last.front:
        values = np.array(list(unseen[candidate.schedule.key].values()))
        own = SyntheticPrompts(numbered("others", range(100, 108))).reward(candidate.schedule)
        assert values.tolist() == own
        judgement = candidate.held_out
        assert judgement is not None
        assert (judgement.mean, judgement.prompts) == (pytest.approx(values.mean()), 8)
        assert (judgement.low, judgement.high) == interval(values)
    programs = [load(file) for file in (tmp_path / "front").glob("*.ecad")]
    written = {(p.meta["held_out_reward"], p.meta["held_out_low"], p.meta["held_out_high"]) for p in programs}
    assert written == {
        (round(c.held_out.mean, 4), round(c.held_out.low, 4), round(c.held_out.high, 4))
        for c in last.front
        if c.held_out
    }


@pytest.mark.parametrize("objective", ["reward", "fidelity"])
def test_in_rotation_rivals_are_compared_on_the_same_part_and_the_front_on_all_prompts(
    tmp_path: Path, objective: str
) -> None:
    problem = SyntheticPrompts()
    *_, last = evolve(problem, tmp_path, objectives=objective, rotate=3, **SETTINGS)
    with RunStore(tmp_path, create=False) as store:
        measured = store.measurements(objective)
        evaluations = {evaluation.key: evaluation for evaluation in store.evaluations()}
    for key, evaluation in evaluations.items():
        assert {evaluation.generation % 3, evaluation.generation % 3 + 3} <= measured[key].keys()
        assert evaluation.objectives[objective] == pytest.approx(np.mean(list(measured[key].values())))
    assert any(len(values) == 2 for values in measured.values())
    for candidate in last.front:
        assert candidate.quality == pytest.approx(np.mean(SyntheticPrompts().reward(candidate.schedule)))
        assert len(measured[candidate.schedule.key]) == 6
    if objective == "reward":
        assert problem.measured < 6 * len(evaluations)


def test_a_run_in_rotation_stopped_anywhere_goes_on_to_the_same_front_and_measures_nothing_twice(
    tmp_path: Path,
) -> None:
    problem = SyntheticPrompts()
    whole = list(evolve(problem, tmp_path / "whole", rotate=2, **SETTINGS))
    for stop in (3, 9, 20, len(whole) - 1):
        run = tmp_path / f"stopped-{stop}"
        first, second = SyntheticPrompts(), SyntheticPrompts()
        search = evolve(first, run, rotate=2, **SETTINGS)
        for _ in range(stop):
            next(search)
        search.close()
        resumed = list(evolve(second, run, rotate=2, **SETTINGS))
        assert [figures(progress) for progress in resumed] == [figures(progress) for progress in whole]
        assert first.measured + second.measured == problem.measured
        with RunStore(run, create=False) as ours, RunStore(tmp_path / "whole", create=False) as theirs:
            assert [(g.hypervolume, g.front) for g in ours.generations()] == [
                (g.hypervolume, g.front) for g in theirs.generations()
            ]


def test_what_rotation_asks_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match="had with other prompts"):
        next(evolve(Synthetic(), tmp_path, rotate=2))
    with pytest.raises(EcadError, match="6 prompts are cut into no more than 6 parts"):
        next(evolve(SyntheticPrompts(), tmp_path, rotate=7))

    class Careless(SyntheticPrompts):
        def on(self, prompts: object) -> Synthetic:
            return Synthetic()

    with pytest.raises(EcadError, match="one number for each prompt"):
        next(evolve(Careless(), tmp_path, rotate=2))


def test_a_pipeline_on_other_prompts_draws_the_pictures_of_those(pipe: ReferencePipeline) -> None:
    unseen = held_out(5)
    problem = PipelineProblem(reference_sampler(pipe, calibration(4)), steps=4, held_out=unseen)
    schedule = compile(parse("cache all every 2 steps"), problem.spec, problem.steps)
    elsewhere = PipelineProblem(reference_sampler(pipe, unseen), steps=4)
    assert problem.on(unseen).reward(schedule).tolist() == elsewhere.reward(schedule).tolist()
    part = problem.on(problem.prompts.at([1, 3]))
    assert part.reward(schedule) == pytest.approx(problem.reward(schedule)[[1, 3]], abs=1e-5)
    assert part.fidelity(schedule) == pytest.approx(problem.fidelity(schedule)[[1, 3]], abs=1e-3)
