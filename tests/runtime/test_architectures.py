"""Every architecture by its declaration alone: inspected, then proved against plain diffusers and brute force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import ecad_dsl as ecad
from ecad_dsl.models import ROLES, ModelSpec, load_spec, spec_names, to_toml
from ecad_dsl.models.meta import meta_transformer, submodule
from ecad_dsl.models.toml import read_spec
from ecad_dsl.runtime import apply, executor, inspect
from ecad_dsl.runtime.structure import read_structure
from ecad_dsl.runtime.unread import first_token
from ecad_dsl.schedule import Schedule
from tests.runtime import oracle
from tests.runtime.architectures import ARCHITECTURES, Architecture

STEPS = 4
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.transformer)


@cache
def built(transformer: str) -> nn.Module:
    """One for all tests: none leaves a mark on it."""
    return next(a for a in ARCHITECTURES if a.transformer == transformer).build()


def denoise(architecture: Architecture, transformer: nn.Module, next_step: Callable[[], Any]) -> list[torch.Tensor]:
    """The predictions of all steps, from latents that differ at each."""
    predictions = []
    with torch.no_grad():
        for step in range(STEPS):
            output = transformer(**architecture.arguments(step))
            for part in output:
                predictions += part if isinstance(part, list) else [part] if isinstance(part, torch.Tensor) else []
            next_step()
    return predictions


@contextmanager
def under(transformer: nn.Module, schedule: Schedule) -> Iterator[Callable[[], Any]]:
    """The transformer under a schedule; gives what ends a step."""
    with apply(transformer, schedule) as run:
        yield run.next_step


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@every_architecture
def test_recomputing_everything_is_plain_diffusers(architecture: Architecture) -> None:
    transformer = built(architecture.transformer)
    plain = denoise(architecture, transformer, lambda: None)
    assert all(prediction.isfinite().all() for prediction in plain)
    with under(transformer, oracle.full_schedule(inspect(transformer), STEPS)) as next_step:
        assert equal(denoise(architecture, transformer, next_step), plain)


@every_architecture
def test_reuse_is_brute_force_and_a_reused_module_is_not_called(architecture: Architecture) -> None:
    transformer = built(architecture.transformer)
    schedule = oracle.random_schedule(inspect(transformer), STEPS)
    with oracle.counted(transformer, schedule) as counts, under(transformer, schedule) as next_step:
        cached = denoise(architecture, transformer, next_step)
    for cell, count in counts.items():
        assert count == oracle.needed(schedule, *cell)
    with oracle.brute_force(transformer, schedule):
        assert equal(denoise(architecture, transformer, lambda: None), cached)
    assert not equal(denoise(architecture, transformer, lambda: None), cached)


def test_another_batch_midway_is_refused_where_the_latents_are_a_list() -> None:
    """Z-Image's pipeline drops the guidance pair midway (``cfg_truncation``); one picture would pass for the other."""
    architecture = next(a for a in ARCHITECTURES if a.transformer == "ZImageTransformer2DModel")
    transformer = built(architecture.transformer)
    one = architecture.arguments(0)
    two = one | {name: one[name] * 2 for name in ("x", "cap_feats")} | {"t": one["t"].repeat(2)}
    schedule = oracle.reuse_schedule(inspect(transformer), STEPS)
    with torch.no_grad(), apply(transformer, schedule) as run:
        transformer(**one)
        run.next_step()
        with pytest.raises(ecad.EcadError, match=r"shape \(\(4, 1, 8, 8\),\) and the input now is \(\(4, 1, 8, 8\), "):
            transformer(**two)


@every_architecture
def test_every_component_matters_by_itself(architecture: Architecture) -> None:
    """Reusing one component alone changes the prediction, but for one whose only reader is reused with it."""
    transformer = built(architecture.transformer)
    spec = inspect(transformer)
    full = (1 << spec.cells) - 1
    plain = denoise(architecture, transformer, lambda: None)
    for name in spec.component_names:
        rows = (full, *[full & ~(spec.component_bits(name) or 0)] * (STEPS - 1))
        with under(transformer, Schedule(spec, rows)) as next_step:
            assert not equal(denoise(architecture, transformer, next_step), plain), name


@every_architecture
def test_what_feeds_a_reused_component_is_not_read(architecture: Architecture) -> None:
    transformer = built(architecture.transformer)
    spec = inspect(transformer)
    full = (1 << spec.cells) - 1
    for stack in spec.stacks:
        for component in stack.components:
            if component.feeds is not None:
                reused = _bits(spec, stack.name, component.feeds)
                both = reused | _bits(spec, stack.name, component.name)
                predictions = []
                for bits in (reused, both):
                    with under(transformer, Schedule(spec, (full, *[full & ~bits] * (STEPS - 1)))) as next_step:
                        predictions.append(denoise(architecture, transformer, next_step))
                assert equal(*predictions), component.name


def _bits(spec: ModelSpec, stack: str, component: str) -> int:
    blocks = spec.blocks_of(stack)
    assert blocks is not None
    return (spec.component_bits(component) or 0) & spec.block_bits(blocks)


@every_architecture
def test_norms_of_reused_components_do_not_run_and_nobody_misses_them(architecture: Architecture) -> None:
    transformer = built(architecture.transformer)
    spec = inspect(transformer)
    schedule = oracle.reuse_schedule(spec, STEPS)
    with oracle.brute_force(transformer, schedule):
        expected = denoise(architecture, transformer, lambda: None)
    ran: Counter[nn.Module] = Counter()

    def count(norm: nn.Module, *_: Any) -> None:
        ran[norm] += 1

    norms = [
        norm
        for stack in spec.stacks
        for block in getattr(transformer, stack.path)
        for path in {path for component in stack.components for path in component.norms}
        if (norm := submodule(block, path)) is not None
    ]
    hooks = [norm.register_forward_hook(count) for norm in norms]
    denoise(architecture, transformer, lambda: None)
    always = ran.copy()
    ran.clear()
    with pytest.MonkeyPatch.context() as patch, under(transformer, schedule) as next_step:
        patch.setattr(executor, "first_token", lambda *call: torch.full_like(first_token(*call), torch.nan))
        cached = denoise(architecture, transformer, next_step)
    for hook in hooks:
        hook.remove()
    assert equal(cached, expected)
    assert {norm: STEPS * times for norm, times in ran.items()} == always


@every_architecture
def test_stacks_stand_in_the_order_of_execution(architecture: Architecture) -> None:
    transformer = built(architecture.transformer)
    spec = inspect(transformer)
    called: list[str] = []
    first = [
        getattr(transformer, stack.path)[0].register_forward_pre_hook(lambda *_, name=stack.name: called.append(name))
        for stack in spec.stacks
    ]
    denoise(architecture, transformer, lambda: None)
    for hook in first:
        hook.remove()
    assert list(dict.fromkeys(called)) == [stack.name for stack in spec.stacks]


@every_architecture
def test_portable_programs_mean_something(architecture: Architecture) -> None:
    """Attention and feed-forwards are all of the components, and self and cross are all of the attention."""
    spec = inspect(built(architecture.transformer))
    bits = {role: spec.component_bits(role) or 0 for role in ROLES}
    assert bits["attn"] | bits["ffn"] == spec.component_bits("all")
    assert bits["self"] | bits["cross"] == bits["attn"]
    assert not bits["attn"] & bits["ffn"]
    assert not bits["self"] & bits["cross"]
    program = "".join(f"cache {role} every {period} steps\n" for period, role in enumerate(ROLES, 2) if bits[role])
    schedule = ecad.compile(ecad.parse(program), spec, STEPS)
    assert ecad.compile(ecad.decompile(schedule), spec, STEPS).rows == schedule.rows


@every_architecture
def test_a_spec_is_read_as_it_was_written(architecture: Architecture) -> None:
    spec = inspect(built(architecture.transformer))
    again = read_spec(to_toml(spec).encode(), spec.name, "mine.toml")
    assert (again.stacks, again.transformer, again.title) == (spec.stacks, spec.transformer, spec.title)
    assert again.groups == spec.groups
    assert _listed(again.config) == _listed(spec.config)
    assert again.inputs == spec.inputs


def _listed(value: Any) -> Any:
    """Without tuples, which are lists in a file, and with the keys of tables as text."""
    if isinstance(value, dict):
        return {str(key): _listed(inner) for key, inner in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", spec_names())
def test_what_is_read_off_a_shipped_model_is_what_its_spec_says(name: str) -> None:
    spec = load_spec(name)
    read = read_structure(meta_transformer(spec.transformer, spec.config), {})
    assert read is not None
    for mine, theirs in zip(spec.stacks, read.stacks, strict=True):
        assert (mine.name, mine.path, mine.blocks) == (theirs.name, theirs.path, theirs.blocks)
        assert [(c.name, c.module, c.feeds, c.norms) for c in mine.components] == [
            (c.name, c.module, c.feeds, c.norms) for c in theirs.components
        ]
    assert all(spec.select(role) == read.select(role) for role in ROLES)
