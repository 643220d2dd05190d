"""The benchmark's table, the models that it builds, and how it counts memory."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ecad_dsl as ecad
from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.quality import bench as bench_module
from ecad_dsl.quality.bench import ALL_RECOMPUTE, NONE, bench, random_inputs, random_transformer, scaled
from ecad_dsl.quality.memory import peak_bytes
from ecad_dsl.schedule import Schedule, compile, cost, parse
from ecad_dsl.schedule.macs import transformer_of

CPU = torch.device("cpu")
TINY = {"pixart-alpha": scaled(load_spec("pixart-alpha"), 2, 1), "flux.1-dev": scaled(load_spec("flux.1-dev"), 3, 1)}
SMALL = {"height": 32, "width": 32, "rounds": 3}


def schedules(spec: ModelSpec) -> dict[str, Schedule]:
    return {text: compile(parse(text), spec, 3) for text in ("cache all every 3 steps", "reuse ffn at step 1")}


@pytest.mark.parametrize("name", TINY)
def test_every_row_has_its_figures(name: str) -> None:
    spec = TINY[name]
    transformer = random_transformer(spec, CPU, torch.float32)
    before = {name: weight.clone() for name, weight in transformer.state_dict().items()}
    table = bench(transformer, schedules(spec), **SMALL).set_index("name")
    assert list(table.index) == [NONE, ALL_RECOMPUTE, *schedules(spec)]
    assert not table.isna().any(axis=None)
    for figure in ("speedup", "ms_per_image"):
        assert (table[f"{figure}_low"] <= table[figure]).all()
        assert (table[figure] <= table[f"{figure}_high"]).all()
    for row, schedule in schedules(spec).items():
        line, own, whole = table.loc[row], cost(schedule, 32, 32), table.loc[NONE]
        assert (line["macs"], line["macs_full"]) == (own.macs, own.macs_full)
        assert line["macs_full_speedup"] == whole["macs_full"] / own.macs_full
        assert line["of_macs_full"] == pytest.approx(line["speedup"] * own.macs_full / whole["macs_full"])
        assert line["of_macs"] == pytest.approx(line["speedup"] * own.macs / whole["macs"])
        assert line["recomputed"] == schedule.recomputed / (3 * spec.cells)
        assert line["ms_per_step"] == pytest.approx(line["ms_per_image"] / 3)
        # What is kept for later steps comes on top of the activations.
        assert line["peak_bytes"] > whole["peak_bytes"]
    assert table.loc[ALL_RECOMPUTE, "macs"] == table.loc[NONE, "macs"]
    assert all(torch.equal(before[name], weight) for name, weight in transformer.state_dict().items())


def test_the_transformer_runs_as_often_as_the_schedule_has_steps() -> None:
    spec = TINY["pixart-alpha"]
    transformer = random_transformer(spec, CPU, torch.float32)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    transformer.register_forward_pre_hook(count)
    longer = compile(parse("cache all every 2 steps"), spec, 5)
    bench(transformer, {"three": compile(parse(""), spec, 3), "five": longer}, **{**SMALL, "rounds": 1})
    rows = 3 * (3 + 3 + 3 + 5)  # memory, warming up, one round: none, all recompute and the two schedules
    assert calls == rows + 4 * 3  # and the plain transformer beside each of them


def test_a_batch_divides_the_time_of_an_image_and_not_that_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TINY["pixart-alpha"]
    transformer = random_transformer(spec, CPU, torch.float32)
    monkeypatch.setattr(bench_module, "paired_seconds", lambda _, subjects, *__: [[(6.0, 3.0)]] * len(subjects))
    line = bench(transformer, schedules(spec), batch=2, **SMALL).iloc[-1]
    assert (line["ms_per_image"], line["ms_per_step"], line["speedup"]) == (1500, 1000, 2)
    assert line["macs"] == cost(schedules(spec)["reuse ffn at step 1"], 32, 32).macs


def test_the_public_name_is_the_function() -> None:
    assert ecad.bench is bench


def test_wrong_use_is_an_error_that_says_what_to_do() -> None:
    spec = TINY["pixart-alpha"]
    transformer = random_transformer(spec, CPU, torch.float32)
    schedule = compile(parse(""), spec, 2)
    with pytest.raises(EcadError, match="at least one schedule"):
        bench(transformer, {})
    with pytest.raises(EcadError, match="'none' is a row of every table"):
        bench(transformer, {"none": schedule})
    with pytest.raises(EcadError, match="multiples of 16 pixels"):
        bench(transformer, {"a": schedule}, height=40)
    with pytest.raises(EcadError, match="this PixArtTransformer2DModel has 2 blocks"):
        bench(transformer, {"a": compile(parse(""), load_spec("pixart-alpha"), 2)}, **SMALL)


@settings(max_examples=20)
@given(st.sampled_from(spec_names()), st.integers(1, 9), st.integers(1, 8))
def test_a_scaled_model_has_the_blocks_and_the_width_that_were_asked_for(name: str, blocks: int, heads: int) -> None:
    spec = load_spec(name)
    small = scaled(spec, blocks, heads)
    transformer = transformer_of(small)
    assert small.is_family_of(spec)
    assert abs(small.blocks - blocks) < len(spec.stacks)
    for stack in small.stacks:
        assert len(getattr(transformer, stack.path)) == stack.blocks
    attention = getattr(transformer, small.stacks[0].path)[0].get_submodule(small.stacks[0].components[0].module)
    assert attention.to_q.out_features == heads * spec.config["attention_head_dim"]


def test_a_model_of_its_own_size_is_itself() -> None:
    for name in spec_names():
        spec = load_spec(name)
        assert scaled(spec) == scaled(spec, spec.blocks, spec.config["num_attention_heads"]) == spec


def test_weights_that_do_not_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "free_bytes", lambda _: 2**30)
    with pytest.raises(EcadError, match=r"FLUX.1-dev take 22\.\d GiB in bfloat16, but cpu has 1\.0 GiB free"):
        random_transformer(load_spec("flux.1-dev"), CPU, torch.bfloat16)


def test_random_weights_neither_die_nor_explode() -> None:
    for spec in TINY.values():
        for dtype in (torch.float32, torch.bfloat16):
            transformer = random_transformer(spec, CPU, dtype)
            with torch.no_grad():
                output = transformer(**random_inputs(transformer, spec, 32, 32, 1)).sample
            assert output.dtype == dtype
            assert 1e-3 < output.float().std() < 1e3


def test_the_peak_is_what_lives_at_once() -> None:
    weight = torch.ones(256)

    def work() -> None:
        first = weight + 1  # 1 KiB
        view = first[:128]
        del first
        second = view + 1  # half of it more, while the view keeps the whole
        del view
        (second + 1).add_(1)  # in place: nothing more

    assert peak_bytes(work, CPU) == 1024 + 512
    assert peak_bytes(lambda: weight.view(16, 16), CPU) == 0
