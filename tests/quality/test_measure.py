"""Prompt sets and measurements."""

import numpy as np
import pytest
import torch

from ecad_dsl import EcadError
from ecad_dsl.models import load_spec
from ecad_dsl.quality.measure import Entry, measure, reference_sampler
from ecad_dsl.quality.prompts import calibration, held_out, states_held_out_pair
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.schedule import compile, parse

SPEC = load_spec("reference")


def test_calibration_and_held_out_prompts_share_neither_pairs_nor_noise() -> None:
    known, new = calibration(200), held_out(200)
    assert not any(states_held_out_pair(prompt) for prompt in known.prompts)
    assert all(states_held_out_pair(prompt) for prompt in new.prompts)
    assert set(known.seeds).isdisjoint(new.seeds)


def test_another_seed_gives_other_prompts_and_the_same_seed_the_same() -> None:
    assert held_out(20, 1) == held_out(20, 1)
    assert held_out(20, 1).prompts != held_out(20, 2).prompts
    sets = [make(500, seed) for make in (calibration, held_out) for seed in (0, 1, 2, 100, 101)]
    assert len({seed for prompts in sets for seed in prompts.seeds}) == 500 * len(sets)


def test_a_sampler_draws_the_same_pictures_again_whatever_its_batch(pipe: ReferencePipeline) -> None:
    schedule = compile(parse("cache all every 2 steps"), SPEC, 4)
    whole = reference_sampler(pipe, calibration(5)).pictures(schedule)
    parts = reference_sampler(pipe, calibration(5), batch=2).pictures(schedule)
    assert torch.allclose(whole, parts, atol=1e-4)
    assert torch.equal(whole, reference_sampler(pipe, calibration(5)).pictures(schedule))


def test_measured_entries_keep_their_order_and_their_rounds(pipe: ReferencePipeline) -> None:
    entries = [
        Entry("none", "none", compile(parse(""), SPEC, 3)),
        Entry("half", "baseline", compile(parse("cache all every 3 steps"), SPEC, 3)),
    ]
    sampler = reference_sampler(pipe, calibration(2))
    done: list[str] = []
    none, half = measure(sampler, entries, timer=sampler, rounds=3, on_done=done.append)
    assert (none.entry.name, half.entry.name) == ("none", "half")
    assert none.macs > 2.5 * half.macs
    assert len(none.seconds) == len(half.seconds) == 3
    assert none.rewards.shape == (2,)
    assert np.isfinite(none.rewards).all()
    assert done[:2] == ["none", "half"]
    assert len(done) == 2 + 3


def test_two_entries_of_one_name_are_refused(pipe: ReferencePipeline) -> None:
    entry = Entry("same", "evolved", compile(parse(""), SPEC, 2))
    with pytest.raises(EcadError, match="the same name"):
        measure(reference_sampler(pipe, calibration(1)), [entry, entry])
