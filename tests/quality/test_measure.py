"""Prompt sets and measurements."""

import numpy as np
import torch

from ecad_dsl.models import load_spec
from ecad_dsl.quality.measure import Entry, measure, paired_seconds, reference_sampler
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
    assert set(held_out(20, 1).seeds).isdisjoint(held_out(20, 2).seeds)


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
    assert len(done) == 2 * (1 + 1 + 3)


def test_rounds_alternate_their_order(pipe: ReferencePipeline) -> None:
    runs: list[str] = []
    schedules = {"a": compile(parse("reuse all"), SPEC, 2), "b": compile(parse("reuse ffn"), SPEC, 2)}
    paired_seconds(reference_sampler(pipe, calibration(1)), schedules, rounds=2, on_run=runs.append)
    assert runs == ["a", "b", "a", "b", "b", "a"]
