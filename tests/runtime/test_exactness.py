"""The runtime against plain diffusers and against caching written by brute force, bit for bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_dsl.runtime import apply, executor, inspect
from ecad_dsl.schedule import Schedule, cost
from tests.runtime import oracle
from tests.runtime.conftest import Generate
from tests.runtime.tiny import flux_transformer, pixart_transformer

FLUX = flux_transformer()
PIXART = pixart_transformer()


def schedules(transformer: torch.nn.Module, steps: int = 5) -> st.SearchStrategy[Schedule]:
    spec = inspect(transformer)
    row = st.integers(0, (1 << spec.cells) - 1)
    return st.lists(row, min_size=steps, max_size=steps).map(lambda rows: Schedule(spec, tuple(rows)))


def test_recomputing_everything_is_plain_diffusers(pipe: Any, generate: Generate) -> None:
    plain = generate(pipe)
    with apply(pipe, oracle.full_schedule(inspect(pipe), 5)):
        assert torch.equal(generate(pipe), plain)


def test_reuse_in_a_pipeline_is_brute_force(pipe: Any, generate: Generate) -> None:
    plain = generate(pipe)
    for seed in range(3):
        schedule = oracle.random_schedule(inspect(pipe), 5, seed)
        with apply(pipe, schedule):
            cached = generate(pipe)
        with oracle.brute_force(pipe.transformer, schedule):
            assert torch.equal(generate(pipe), cached)
        assert not torch.equal(cached, plain)


@settings(max_examples=20, deadline=None)
@given(schedule=schedules(FLUX))
def test_reuse_in_flux_is_brute_force(schedule: Schedule) -> None:
    with apply(FLUX, schedule):
        cached = oracle.denoise_flux(FLUX, 5)
    with oracle.brute_force(FLUX, schedule):
        assert torch.equal(oracle.denoise_flux(FLUX, 5), cached)


@settings(max_examples=15, deadline=None)
@given(schedule=schedules(PIXART))
def test_sequential_guidance_keeps_a_cache_for_each_call(schedule: Schedule) -> None:
    with apply(PIXART, schedule):
        cached = oracle.denoise_pixart(PIXART, 5, "sequential")
    with oracle.brute_force(PIXART, schedule, calls=2):
        assert torch.equal(oracle.denoise_pixart(PIXART, 5, "sequential"), cached)


@settings(max_examples=15, deadline=None)
@given(schedule=schedules(PIXART))
def test_every_generation_begins_afresh(schedule: Schedule) -> None:
    with apply(PIXART, schedule):
        first, other, again = (oracle.denoise_pixart(PIXART, 5, seed=seed) for seed in (0, 1, 0))
    assert torch.equal(first, again)
    with oracle.brute_force(PIXART, schedule):
        assert torch.equal(oracle.denoise_pixart(PIXART, 5, seed=0), first)
        assert torch.equal(oracle.denoise_pixart(PIXART, 5, seed=1), other)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=schedules(FLUX))
def test_a_module_that_is_reused_or_read_by_nobody_is_not_called(schedule: Schedule) -> None:
    hooked = 0

    def hook(*_: Any) -> None:
        nonlocal hooked
        hooked += 1

    components = [m for stack in ("double", "single") for row in oracle.modules(FLUX, stack) for m in row]
    hooks = [module.register_forward_hook(hook) for module in components]
    with oracle.counted(FLUX, schedule) as counts, apply(FLUX, schedule):
        oracle.denoise_flux(FLUX, 5)
    for handle in hooks:
        handle.remove()
    for cell, count in counts.items():
        assert count == oracle.needed(schedule, *cell)
    assert hooked == sum(counts.values())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([PIXART, FLUX]).flatmap(lambda model: st.tuples(st.just(model), schedules(model))))
def test_nobody_reads_what_stands_in_for_what_need_not_run(case: tuple[torch.nn.Module, Schedule]) -> None:
    transformer, schedule = case
    denoise = oracle.denoise_flux if transformer is FLUX else oracle.denoise_pixart
    with oracle.brute_force(transformer, schedule):
        expected = denoise(transformer, 5)
    with pytest.MonkeyPatch.context() as patch, apply(transformer, schedule):
        for name in ("first_token", "sample"):
            stand_in = getattr(executor, name)
            patch.setattr(executor, name, lambda *call, _make=stand_in: torch.full_like(_make(*call), torch.nan))
        assert torch.equal(denoise(transformer, 5), expected)


@pytest.mark.parametrize(("transformer", "norms"), [(PIXART, ("norm1", "norm2")), (FLUX, ("norm1.norm", "norm.norm"))])
def test_norms_run_only_where_what_they_prepare_runs(transformer: torch.nn.Module, norms: tuple[str, ...]) -> None:
    calls: Counter[str] = Counter()

    def hook(module: torch.nn.Module, *_: Any) -> None:
        calls[names[module]] += 1

    names = {m: n for n, m in transformer.named_modules() if "blocks." in n and n.endswith(norms)}
    hooks = [module.register_forward_hook(hook) for module in names]
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 5)):
        (oracle.denoise_pixart if transformer is PIXART else oracle.denoise_flux)(transformer, 5)
    for handle in hooks:
        handle.remove()
    assert calls == dict.fromkeys(names.values(), 1)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([PIXART, FLUX]).flatmap(lambda model: st.tuples(st.just(model), schedules(model))))
def test_the_cache_takes_as_much_memory_as_the_cost_says(case: tuple[torch.nn.Module, Schedule]) -> None:
    transformer, schedule = case
    denoise, latents, text = (oracle.denoise_flux, 4, 5) if transformer is FLUX else (oracle.denoise_pixart, 8, 6)
    spec = replace(schedule.spec, inputs={**schedule.spec.inputs, "text_tokens": text})
    side = latents * spec.inputs["pixels_per_latent"]
    kept: dict[Any, int] = {}
    most = 0
    keep, read = executor.Cell.keep, executor.Cell.kept

    def counting(cell: executor.Cell, output: Any) -> None:
        nonlocal most
        keep(cell, output)
        kept[cell] = sum(part.numel() for part in (output if isinstance(output, tuple) else (output,)))
        most = max(most, sum(kept.values()))

    def reading(cell: executor.Cell, op: int) -> Any:
        output = read(cell, op)
        if not cell.outputs:
            del kept[cell]
        return output

    with pytest.MonkeyPatch.context() as patch, apply(transformer, schedule):
        patch.setattr(executor.Cell, "keep", counting)
        patch.setattr(executor.Cell, "kept", reading)
        denoise(transformer, 5)
    assert most == cost(Schedule(spec, schedule.rows), side, side).cache_elements
    assert not kept


def test_half_precision_is_exact_too() -> None:
    transformer = flux_transformer().to(torch.bfloat16)
    schedule = oracle.random_schedule(inspect(transformer), 4)

    def run() -> torch.Tensor:
        latents = torch.ones(1, 16, 4, dtype=torch.bfloat16)
        with torch.no_grad():
            for step in range(4):
                inputs = oracle.flux_inputs(1 - step / 4, latents)
                inputs = {
                    k: v.bfloat16()
                    if k in {"encoder_hidden_states", "pooled_projections", "timestep", "guidance"}
                    else v
                    for k, v in inputs.items()
                }
                latents = latents - transformer(**inputs)[0] / 4
        return latents

    with apply(transformer, schedule):
        cached = run()
    with oracle.brute_force(transformer, schedule):
        assert torch.equal(run(), cached)


def test_gradients_flow_through_kept_outputs() -> None:
    schedule = oracle.random_schedule(inspect(FLUX), 3)

    def gradient() -> torch.Tensor:
        start = torch.ones(1, 16, 4, requires_grad=True)
        latents = start
        for step in range(3):
            latents = latents - FLUX(**oracle.flux_inputs(1 - step / 3, latents))[0] / 3
        return torch.autograd.grad(latents.sum(), start)[0]

    with apply(FLUX, schedule):
        cached = gradient()
    with oracle.brute_force(FLUX, schedule):
        assert torch.allclose(gradient(), cached, atol=1e-6)


@pytest.mark.parametrize("transformer", [PIXART, FLUX], ids=["pixart", "flux"])
def test_blocks_do_not_change_what_is_kept(transformer: torch.nn.Module) -> None:
    """Kept tensors are not copied, so no block may write into one. A tensor counts its in-place changes."""
    outputs: list[torch.Tensor] = []

    def remember(_module: Any, _args: Any, output: Any) -> None:
        outputs.extend(output if isinstance(output, tuple) else [output])

    stacks = ("blocks",) if transformer is PIXART else ("double", "single")
    hooks = [m.register_forward_hook(remember) for s in stacks for row in oracle.modules(transformer, s) for m in row]
    with apply(transformer, oracle.reuse_schedule(inspect(transformer), 3)):
        (oracle.denoise_pixart if transformer is PIXART else oracle.denoise_flux)(transformer, 3)
    for handle in hooks:
        handle.remove()
    assert outputs
    assert all(output._version == 0 for output in outputs)
