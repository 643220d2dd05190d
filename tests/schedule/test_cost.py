from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.models.meta import meta_transformer
from ecad_dsl.schedule.cost import cost, cost_table
from ecad_dsl.schedule.macs import MacCounter
from ecad_dsl.schedule.schedule import Schedule
from tests.runtime.architectures import ARCHITECTURES, Architecture

PAPER = Path(__file__).parent.parent / "data" / "paper"


def full(spec: ModelSpec, steps: int = 20) -> Schedule:
    return Schedule(spec, ((1 << spec.cells) - 1,) * steps)


def published(name: str, spec: ModelSpec) -> tuple[Schedule, int]:
    """The schedule of a released file, and the total that the file states."""
    data = json.loads((PAPER / name).read_text())
    rows = []
    for blocks in data["cache_schedule"]["schedule"].values():
        bits = [bit for components in blocks.values() for bit in components.values()]
        rows.append(sum(bit << cell for cell, bit in enumerate(bits)))
    return Schedule(spec, tuple(rows)), data["metrics"]["total_macs"]


@pytest.mark.parametrize(
    ("model", "pixels", "fixed", "tera"),
    [
        ("pixart-alpha", 256, 1_498_447_872, 5.714),
        ("pixart-sigma", 256, 1_498_447_872, 5.714),
        ("flux.1-dev", 256, 19_643_498_496, 198.69),
        ("flux.1-dev", 1024, 22_663_397_376, 1190.2),
    ],
)
def test_figures_of_the_paper(model: str, pixels: int, fixed: int, tera: float) -> None:
    spec = load_spec(model)
    assert cost_table(spec, pixels, pixels).layers.fixed == fixed
    macs = cost(full(spec), pixels, pixels).macs
    assert round(macs / 1e12, len(str(tera).split(".")[1])) == tera


def test_components_cost_what_their_shapes_say() -> None:
    width, tokens, text = 1152, 256, 120
    table = cost_table(load_spec("pixart-alpha"), 256, 256)
    assert table.layers.cells[:3] == (
        2 * tokens * 4 * width**2,
        2 * (tokens * 2 * width**2 + text * 2 * width**2),
        2 * tokens * 8 * width**2,
    )
    assert table.full.cells[0] - table.layers.cells[0] == 2 * 2 * tokens**2 * width


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("pixart_alpha_256_fast.json", "pixart-alpha"),
        ("pixart_sigma_256_fast.json", "pixart-sigma"),
        ("flux_256_fast.json", "flux.1-dev"),
    ],
)
def test_totals_of_the_released_schedules(name: str, model: str) -> None:
    """One of them reuses a cell in step 0 by its bits; the stated total counts it as recomputed."""
    schedule, total = published(name, load_spec(model))
    assert cost(schedule, 256, 256).macs == total


def inputs(spec: ModelSpec, samples: int) -> dict[str, torch.Tensor]:
    """What the transformer of a spec is fed for a picture of 256 x 256 pixels, written out."""
    config, text = spec.config, spec.inputs["text_tokens"]
    if spec.transformer == "FluxTransformer2DModel":
        guidance = {"guidance": torch.empty(samples)} if config["guidance_embeds"] else {}
        return {
            "hidden_states": torch.empty(samples, 256, 64),
            "encoder_hidden_states": torch.empty(samples, text, 4096),
            "pooled_projections": torch.empty(samples, 768),
            "img_ids": torch.empty(256, 3),
            "txt_ids": torch.empty(text, 3),
            **guidance,
        }
    if spec.transformer == "SD3Transformer2DModel":
        return {
            "hidden_states": torch.empty(samples, 16, 32, 32),
            "encoder_hidden_states": torch.empty(samples, text, 4096),
            "pooled_projections": torch.empty(samples, 2048),
        }
    side = 256 // spec.inputs["pixels_per_latent"]
    conditions = {"resolution": torch.empty(samples, 2), "aspect_ratio": torch.empty(samples, 1)}
    return {
        "hidden_states": torch.empty(samples, config["in_channels"], side, side),
        "encoder_hidden_states": torch.empty(samples, text, config["caption_channels"]),
        "added_cond_kwargs": conditions if config["use_additional_conditions"] else {},
    }


@pytest.mark.parametrize("name", spec_names())
def test_full_macs_agree_with_the_flop_counter(name: str) -> None:
    whole = load_spec(name)
    spec = whole.resized({stack.name: 2 for stack in whole.stacks})
    layers = {key: 2 for key in ("num_layers", "num_single_layers") if key in spec.config}
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as flops:
        transformer = getattr(diffusers, spec.transformer)(**{**spec.config, **layers})
        transformer(timestep=torch.empty(2), **inputs(spec, 2))
    # The configuration too, since the last block of an SD3 of any size lacks the text's feed-forward.
    spec = replace(spec, config={**spec.config, **layers})
    assert cost(full(spec, 1), 256, 256).macs_full * 2 == flops.get_total_flops()


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.transformer)
def test_counting_agrees_with_the_flop_counter(architecture: Architecture) -> None:
    transformer = architecture.build()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        transformer(**architecture.arguments(0))
    with torch.no_grad(), MacCounter() as counter:
        transformer(**architecture.arguments(0))
    assert 2 * (counter.layers.total() + counter.attention.total()) == flops.get_total_flops()


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, r"does not say what the transformer is fed; add \[inputs.shapes\]"),
        ({"shapes": {"hidden_states": ["batch"]}}, "does not say pixels_per_latent"),
        ({"shapes": {"hidden_states": ["depth"]}, "pixels_per_latent": 8}, "'depth', which is no whole number"),
        ({"shapes": {"hidden_states": ["batch"]}, "pixels_per_latent": 8}, "cannot be fed what"),
    ],
)
def test_what_a_spec_does_not_say_is_named(inputs: dict[str, object], complaint: str) -> None:
    spec = replace(load_spec("reference"), inputs=inputs)
    with pytest.raises(EcadError, match=complaint):
        cost(full(spec), 256, 256)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("pixart-alpha", 611),
        ("pixart-alpha-1024", 611),
        ("pixart-sigma-1024", 611),
        ("flux.1-dev", 11_901),
        ("flux.1-schnell", 11_891),
        ("sd3-medium", 2_028),
        ("sd3.5-medium", 2_243),
        ("sd3.5-large", 8_057),
    ],
)
def test_configurations_have_the_published_numbers_of_parameters(name: str, millions: int) -> None:
    spec = load_spec(name)
    transformer = meta_transformer(spec.transformer, spec.config)
    assert round(sum(parameter.numel() for parameter in transformer.parameters()) / 1e6) == millions


def test_a_resized_spec_costs_its_own_blocks() -> None:
    spec = load_spec("reference")
    tables = [cost_table(spec.resized({"blocks": blocks})) for blocks in (3, 8, 11)]
    assert [len(table.layers.cells) for table in tables] == [9, 24, 33]
    assert len({table.layers.fixed for table in tables}) == 1
    assert len({table.layers.cells[:9] for table in tables}) == 1


def test_the_configuration_counts() -> None:
    spec = load_spec("reference")
    narrow = replace(spec, config={**spec.config, "num_attention_heads": 2, "cross_attention_dim": 64})
    assert cost(full(narrow)).macs < cost(full(spec)).macs


def test_frames_sum_to_the_totals() -> None:
    spec = load_spec("reference")
    result = cost(Schedule(spec, ((1 << spec.cells) - 1, 0b1010, 0)))
    for frame in (result.by_step, result.by_component):
        assert frame["macs"].sum() == result.macs
        assert frame["macs_full"].sum() == result.macs_full
        assert frame["recomputed"].sum() == result.schedule.recomputed
    assert list(result.by_component.columns) == ["step", "stack", "component", "recomputed", "macs", "macs_full"]
    assert result.by_component.query("step == 1 and component == 'cross'")["recomputed"].item() == 1
    assert result.by_step["macs"].tolist()[2] == result.table.layers.fixed


def test_saved_is_the_share_of_everything() -> None:
    spec = load_spec("reference")
    assert cost(full(spec)).saved == 0
    assert 0.9 < cost(Schedule(spec, (0,) * 20)).saved < 0.95


def test_images_in_a_batch_multiply() -> None:
    spec = load_spec("reference")
    assert cost(full(spec), batch=3).macs == 3 * cost(full(spec)).macs


def test_scoring_a_schedule_takes_microseconds() -> None:
    spec = load_spec("flux.1-dev")
    table, rows = cost_table(spec), full(spec).rows
    best = min(_seconds(lambda: table.layers.total(rows)) for _ in range(20))
    assert best < 200e-6


def _seconds(call: object) -> float:
    assert callable(call)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.parametrize(("height", "width"), [(250, 256), (0, 256), (256, -16)])
def test_a_size_that_the_model_cannot_make_is_refused(height: int, width: int) -> None:
    with pytest.raises(EcadError, match="multiples of 16 pixels"):
        cost(full(load_spec("pixart-alpha")), height, width)


def test_a_spec_that_does_not_say_enough_is_refused() -> None:
    spec = load_spec("reference")
    bare = ModelSpec(spec.name, spec.title, spec.transformer, spec.stacks, spec.groups, spec.config, {})
    with pytest.raises(EcadError, match="no resolution"):
        cost(full(bare))


def test_importing_cost_does_not_import_torch() -> None:
    code = "import sys, ecad_dsl.schedule.cost; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
