"""benchmarks/many.py measures what the product measures, only side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from ecad_dsl.evolution.problem import PipelineProblem
from ecad_dsl.quality.measure import reference_sampler
from ecad_dsl.quality.prompts import calibration
from ecad_dsl.reference.pipeline import load_reference
from ecad_dsl.schedule import Schedule, compile, parse

PROGRAMS = (
    "",
    "cache all every 3 steps",
    "reuse cross from step 2",
    "cache ffn in blocks 2-5 every 2 steps\nreuse self at steps 3-4",
    "reuse all",
)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import many  # type: ignore[import-not-found]

    yield many
    del sys.modules["many"]


def test_every_picture_follows_its_own_schedule(many, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "PICTURES", 6)  # three schedules in a batch, and two in the next
    prompts = calibration(2, seed=7)
    problem = PipelineProblem(reference_sampler(load_reference(), prompts), steps=5)
    schedules: list[Schedule] = [compile(parse(text), problem.spec, 5) for text in PROGRAMS]

    fidelity, reward = many.fidelities(schedules, prompts), many.rewards(schedules, prompts)

    assert fidelity.shape == reward.shape == (len(PROGRAMS), 2)
    assert np.allclose(fidelity.mean(axis=1), [np.mean(problem.fidelity(s)) for s in schedules], atol=1e-3)
    assert np.allclose(reward.mean(axis=1), [np.mean(problem.reward(s)) for s in schedules], atol=1e-3)
    assert len(set(fidelity.mean(axis=1).round(3))) == len(PROGRAMS)


def test_the_transformer_is_left_as_it_was(many) -> None:
    pipe = many._pipe("cpu")
    modules = list(pipe.transformer.named_modules())
    many.fidelities([compile(parse("reuse all"), many.inspect(pipe), 3)], calibration(1))
    assert list(pipe.transformer.named_modules()) == modules
    assert all(isinstance(module, nn.Module) and not module._forward_pre_hooks for _, module in modules)
