"""SmoothCache: changes are those of the real outputs, and the schedule is what the threshold says."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl import EcadError
from ecad_dsl.models import load_spec
from ecad_dsl.quality.prompts import calibration
from ecad_dsl.quality.smoothcache import Changes, measure_changes
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.runtime import inspect
from ecad_dsl.schedule import cost

SPEC = load_spec("reference")
STEPS, REACH = 6, 3


def random_changes(seed: int, steps: int = STEPS, reach: int = REACH) -> Changes:
    """Changes that grow with the number of steps, as real ones do."""
    stack = SPEC.stacks[0]
    values = np.random.default_rng(seed).random((steps, reach, stack.blocks, len(stack.components)))
    values *= np.arange(1, reach + 1)[:, None, None]
    for lag in range(reach):
        values[: lag + 1, lag] = np.nan
    return Changes(SPEC, {"blocks": values})


def generation(pipe: ReferencePipeline, count: int = 2, steps: int = STEPS):
    prompts = calibration(count)
    noise = [torch.Generator().manual_seed(seed) for seed in prompts.seeds]
    return partial(pipe, list(prompts.prompts), num_inference_steps=steps, generator=noise, output_type="latent")


def test_changes_are_those_of_the_outputs(pipe: ReferencePipeline) -> None:
    outputs: list[torch.Tensor] = []
    module = pipe.transformer.transformer_blocks[5].attn2
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output.double()))
    plain = generation(pipe)().images
    handle.remove()
    changes = measure_changes(pipe, [generation(pipe)], STEPS, REACH)
    measured = changes.values["blocks"][:, :, 5, 1]
    for step in range(STEPS):
        for lag in range(REACH):
            if step - lag - 1 < 0:
                assert np.isnan(measured[step, lag])
            else:
                old, new = outputs[step - lag - 1], outputs[step]
                expected = (new - old).abs().mean() / old.abs().mean()
                assert measured[step, lag] == pytest.approx(float(expected), rel=1e-4)
    assert not module._forward_hooks
    assert torch.equal(plain, generation(pipe)().images)


def test_several_generations_are_averaged(pipe: ReferencePipeline) -> None:
    one, other = generation(pipe), generation(pipe, 3)
    apart = [measure_changes(pipe, [g], STEPS, 2).values["blocks"] for g in (one, other)]
    both = measure_changes(pipe, [generation(pipe), generation(pipe, 3)], STEPS, 2).values["blocks"]
    np.testing.assert_allclose(both, (apart[0] + apart[1]) / 2, rtol=1e-5)


@given(st.integers(0, 50), st.floats(0, 3))
def test_each_cell_is_reused_until_its_change_reaches_the_threshold(seed: int, threshold: float) -> None:
    changes = random_changes(seed)
    masks = changes.schedule(threshold, by="cell").masks["blocks"]
    for block in range(2):
        for index in range(3):
            last = 0
            for step in range(1, STEPS):
                age = step - last
                change = changes.values["blocks"][step, age - 1, block, index] if age <= REACH else np.inf
                assert bool(masks[step, block, index]) == (not change < threshold)
                last = step if masks[step, block, index] else last


@given(st.integers(0, 50), st.floats(0, 3))
def test_components_are_decided_for_all_blocks_together(seed: int, threshold: float) -> None:
    changes = random_changes(seed)
    masks = changes.schedule(threshold).masks["blocks"]
    assert (masks == masks[:, :1]).all()
    alone = Changes(SPEC, {"blocks": np.repeat(changes.values["blocks"].mean(2, keepdims=True), 8, axis=2)})
    assert alone.schedule(threshold, by="cell") == changes.schedule(threshold)


def test_both_ends_of_the_threshold() -> None:
    changes = random_changes(0)
    assert changes.schedule(0).recomputed == STEPS * SPEC.cells
    rows = changes.schedule(np.inf).rows
    assert [row > 0 for row in rows] == [step % (REACH + 1) == 0 for step in range(STEPS)]


@given(st.integers(0, 20), st.floats(0.4, 1))
def test_a_cost_is_kept_and_hardly_undercut(seed: int, share: float) -> None:
    threshold, schedule = random_changes(seed).for_cost(share)
    assert 1 - cost(schedule).saved <= share
    assert random_changes(seed).schedule(threshold) == schedule


def test_a_cost_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(EcadError, match="longer reach"):
        random_changes(0).for_cost(0.1)


def test_the_frame_has_every_change_once() -> None:
    changes = random_changes(3)
    frame = changes.frame
    assert len(frame) == np.isfinite(changes.values["blocks"]).sum()
    line = frame[(frame.step == 4) & (frame.since == 2) & (frame.block == 7) & (frame.component == "ffn")].iloc[0]
    assert line["change"] == changes.values["blocks"][4, 1, 7, 2]


def test_a_measurement_needs_something_to_measure(pipe: ReferencePipeline) -> None:
    assert inspect(pipe).name == "reference"
    with pytest.raises(EcadError, match="at least one generation"):
        measure_changes(pipe, [], STEPS)
    with pytest.raises(EcadError, match="at least 1 step"):
        measure_changes(pipe, [generation(pipe)], STEPS, reach=0)
