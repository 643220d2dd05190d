"""A pipeline as a problem: what its figures are of."""

import pytest

from ecad_dsl.evolution.problem import PipelineProblem
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import calibration
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.schedule import Schedule, compile, cost, parse


@pytest.fixture(scope="module")
def problem(pipe: ReferencePipeline) -> PipelineProblem:
    return PipelineProblem(reference_sampler(pipe, calibration(6)), steps=8, first=4)


def schedule(problem: PipelineProblem, text: str) -> Schedule:
    return compile(parse(text), problem.spec, problem.steps)


def test_fidelity_is_highest_without_a_cache_and_falls_with_reuse(problem: PipelineProblem) -> None:
    texts = ("", "cache all every 2 steps", "cache all every 4 steps", "reuse all")
    fidelities = [problem.fidelity(schedule(problem, text)).mean() for text in texts]
    assert fidelities[0] == pytest.approx(40)
    assert fidelities == sorted(fidelities, reverse=True)
    assert len(set(fidelities)) == 4


def test_rewards_are_those_of_all_prompts_and_macs_those_of_the_schedule(problem: PipelineProblem) -> None:
    halved = schedule(problem, "cache all every 2 steps")
    assert problem.reward(halved).tolist() == problem.sampler.rewards(halved).tolist()
    assert len(problem.fidelity(halved)) == 4
    assert problem.macs(halved) == cost(halved).macs
