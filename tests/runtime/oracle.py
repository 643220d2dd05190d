"""Caching as plainly as it can be written: every component module's forward either computes or repeats itself.

Shares nothing with the runtime: it replaces the forwards of the modules, counts their calls to know the step,
and keeps copies.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.schedule import Schedule

MODULES = {
    "blocks": ("transformer_blocks", ("attn1", "attn2", "ff")),
    "double": ("transformer_blocks", ("attn", "ff", "ff_context")),
    "single": ("single_transformer_blocks", ("attn", "proj_mlp", "proj_out")),
}


def modules(transformer: nn.Module, stack: str) -> list[list[nn.Module]]:
    """The component modules, registered ones, by block."""
    path, names = MODULES[stack]
    return [[block._modules[name] for name in names] for block in getattr(transformer, path)]


def cells(transformer: nn.Module, spec: ModelSpec) -> Iterator[tuple[tuple[str, int, int], nn.Module]]:
    """Stack, block and component, and the module that the spec says; a block may lack some."""
    for stack in spec.stacks:
        for block, module in enumerate(getattr(transformer, stack.path)):
            registered = dict(module.named_modules())
            for index, component in enumerate(stack.components):
                if component.module in registered:
                    yield (stack.name, block, index), registered[component.module]


def copied(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(copied(part) for part in output)
    return None if output is None else output.clone()


@contextmanager
def brute_force(transformer: nn.Module, schedule: Schedule, calls: int = 1) -> Iterator[None]:
    """The transformer caches by the masks of the schedule; each step makes this many transformer calls."""
    touched = []
    masks = schedule.masks
    for (stack, block, component), module in cells(transformer, schedule.spec):
        module.forward = _repeating(module.forward, masks[stack][:, block, component].tolist(), calls)
        touched.append(module)
    try:
        yield
    finally:
        for module in touched:
            del module.forward


def _repeating(forward: Any, recompute: list[bool], calls: int) -> Any:
    kept: dict[int, Any] = {}
    count = 0

    def repeating(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        step, call = divmod(count, calls)
        count += 1
        if recompute[step % len(recompute)]:
            kept[call] = copied(forward(*args, **kwargs))
        return copied(kept[call])

    return repeating


def random_schedule(spec: ModelSpec, steps: int, seed: int = 0, share: float = 0.5) -> Schedule:
    """Each cell recomputed with this probability."""
    bits = random.Random(seed)
    rows = [sum((bits.random() < share) << cell for cell in range(spec.cells)) for _ in range(steps)]
    return Schedule(spec, tuple(rows))


def full_schedule(spec: ModelSpec, steps: int) -> Schedule:
    return Schedule(spec, ((1 << spec.cells) - 1,) * steps)


def reuse_schedule(spec: ModelSpec, steps: int) -> Schedule:
    """Everything computed at step 0 and never again."""
    return Schedule(spec, (0,) * steps)


@contextmanager
def counted(transformer: nn.Module, schedule: Schedule) -> Iterator[dict[tuple[str, int, int], int]]:
    """How often each component's own forward ran."""
    counts: dict[tuple[str, int, int], int] = {}
    touched = []
    for cell, module in cells(transformer, schedule.spec):
        counts[cell] = 0

        def counting(*args: Any, _forward: Any = module.forward, _cell: Any = cell, **kwargs: Any) -> Any:
            counts[_cell] += 1
            return _forward(*args, **kwargs)

        module.forward = counting
        touched.append(module)
    try:
        yield counts
    finally:
        for module in touched:
            del module.forward


def needed(schedule: Schedule, stack: str, block: int, component: int) -> int:
    """How often a component must run: where it is recomputed, if anybody reads that output.

    One that feeds another component alone is read where that runs: at once, or before its own next recompute.
    """
    parts = schedule.spec.stack(stack).components
    mask = schedule.masks[stack][:, block]
    recomputes = [step for step, recompute in enumerate(mask[:, component]) if recompute]
    if parts[component].feeds is None:
        return len(recomputes)
    reader = [part.name for part in parts].index(parts[component].feeds)
    reads = mask[:, reader].tolist()
    return sum(any(reads[start:end]) for start, end in pairwise([*recomputes, schedule.steps]))


def flux_inputs(timestep: float, latents: torch.Tensor) -> dict[str, Any]:
    """Arguments of a forward pass of the tiny FLUX; latents are [batch, 16, 4]."""
    batch = len(latents)
    noise = torch.Generator().manual_seed(3)
    return {
        "hidden_states": latents,
        "encoder_hidden_states": torch.randn(batch, 5, 8, generator=noise),
        "pooled_projections": torch.randn(batch, 8, generator=noise),
        "timestep": torch.full((batch,), timestep),
        "guidance": torch.full((batch,), 3.0),
        "img_ids": torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0)),
        "txt_ids": torch.zeros(5, 3),
        "return_dict": False,
    }


def denoise_flux(transformer: nn.Module, steps: int, seed: int = 0) -> torch.Tensor:
    """A loop of one's own around the transformer, as a caller without a pipeline writes it."""
    latents = torch.randn(1, 16, 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for step in range(steps):
            latents = latents - transformer(**flux_inputs(1 - step / steps, latents))[0] / steps
    return latents


def denoise_pixart(transformer: nn.Module, steps: int, guidance: str = "batch", seed: int = 0) -> torch.Tensor:
    """A loop with guidance: the pair in one batch, or one transformer call after the other (``sequential``)."""
    noise = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 4, 8, 8, generator=noise)
    prompt, empty = torch.randn(2, 1, 6, 8, generator=noise)

    def predict(latents: torch.Tensor, text: torch.Tensor, timestep: int) -> torch.Tensor:
        times = torch.full((len(latents),), timestep)
        prediction: torch.Tensor = transformer(latents, text, times, return_dict=False)[0]
        return prediction[:, :4]  # the rest is the learned variance

    with torch.no_grad():
        for step in range(steps):
            timestep = 999 - 100 * step
            if guidance == "sequential":
                stated, unstated = predict(latents, prompt, timestep), predict(latents, empty, timestep)
            else:
                both = predict(torch.cat([latents] * 2), torch.cat([prompt, empty]), timestep)
                stated, unstated = both.chunk(2)
            latents = latents - (unstated + 3 * (stated - unstated)) / steps
    return latents
