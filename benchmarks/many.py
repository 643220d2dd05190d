"""Many schedules measured side by side: one batch of pictures, each following a schedule of its own.

A search on a GPU would otherwise wait for one small model and few pictures at a time. Here a component is computed for
those pictures of the batch whose schedule recomputes it, and the others keep what they were given last; so nothing is
computed that a schedule reuses, and the figures are those of :class:`ecad_dsl.PipelineProblem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecad_dsl.models.meta import submodule
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.quality.reward import psnr, reference_reward
from ecad_dsl.reference.pipeline import ReferencePipeline, load_reference
from ecad_dsl.runtime import inspect
from ecad_dsl.schedule import Schedule, compile, parse

PICTURES = 1024
"""At most so many pictures in a batch."""


def fidelities(schedules: Sequence[Schedule], prompts: PromptSet, device: str = "cpu") -> NDArray[np.float64]:
    """PSNR of the final pictures to the uncached ones in dB, [schedules, prompts]."""
    uncached = _uncached(prompts, schedules[0].steps, device)
    rows = [psnr(drawn, uncached) for pictures in _pictures(schedules, prompts, device) for drawn in pictures]
    return torch.stack(rows).double().cpu().numpy()


def rewards(schedules: Sequence[Schedule], prompts: PromptSet, device: str = "cpu") -> NDArray[np.float64]:
    """The reference reward of the final pictures, [schedules, prompts]."""
    drawn = [picture.cpu() for pictures in _pictures(schedules, prompts, device) for picture in pictures]
    return torch.stack([reference_reward(pictures, prompts.prompts) for pictures in drawn]).double().numpy()


@cache
def _pipe(device: str) -> ReferencePipeline:
    return load_reference().to(device)


@cache
def _uncached(prompts: PromptSet, steps: int, device: str) -> Tensor:
    everything = compile(parse(""), inspect(_pipe(device)), steps)
    return next(_pictures([everything], prompts, device))[0]


@cache
def _inputs(prompts: PromptSet, device: str) -> tuple[Tensor, ...]:
    """Embeddings and masks of the prompts, those of no prompt, and the noise: what the pipeline would make itself."""
    pipe = _pipe(device)
    encoded = pipe.encode_prompt(
        list(prompts.prompts), clean_caption=False, max_sequence_length=pipe.tokenizer.model_max_length, device=device
    )
    size = 256 // pipe.vae_scale_factor
    shape = (1, pipe.transformer.config.in_channels, size, size)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in prompts.seeds]
    return (*encoded, torch.cat(noise).to(device))


@torch.no_grad()
def _pictures(schedules: Sequence[Schedule], prompts: PromptSet, device: str) -> Iterator[Tensor]:
    """For one batch of schedules after another: [schedules, prompts, 3, height, width] in [0, 1]."""
    pipe = _pipe(device)
    at_once = max(1, PICTURES // len(prompts))
    for start in range(0, len(schedules), at_once):
        batch = schedules[start : start + at_once]
        embeds, mask, negative, negative_mask, noise = (
            tensor.repeat(len(batch), *[1] * (tensor.dim() - 1)) for tensor in _inputs(prompts, device)
        )
        with _followed(pipe.transformer, batch, len(prompts), device):
            latents = pipe(
                prompt_embeds=embeds,
                prompt_attention_mask=mask,
                negative_prompt_embeds=negative,
                negative_prompt_attention_mask=negative_mask,
                negative_prompt=None,
                latents=noise,
                num_inference_steps=batch[0].steps,
                output_type="latent",
            ).images
        yield (latents / 2 + 0.5).clamp(0, 1).unflatten(0, (len(batch), len(prompts)))


class _Component(nn.Module):
    """Computes for the pictures that recompute at this step; the others keep their last output."""

    def __init__(self, module: nn.Module, rows: Sequence[Tensor | None], step: list[int]) -> None:
        super().__init__()
        self.module, self.rows, self.step = module, rows, step
        self.kept: Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        rows = self.rows[self.step[0]]
        if rows is None:
            self.kept = self.module(*args, **kwargs)
        elif len(rows):
            some = [_select(value, rows) for value in args]
            named = {name: _select(value, rows) for name, value in kwargs.items()}
            self.kept.index_copy_(0, rows, self.module(*some, **named))
        return self.kept


def _select(value: Any, rows: Tensor) -> Any:
    return value.index_select(0, rows) if isinstance(value, Tensor) else value


@contextmanager
def _followed(transformer: nn.Module, batch: Sequence[Schedule], prompts: int, device: str) -> Iterator[None]:
    """Within it, picture i of the batch follows schedule i // prompts, once for each half of the guidance pair."""
    (stack,) = batch[0].spec.stacks
    masks = np.stack([schedule.to_numpy()[stack.name] for schedule in batch], axis=-1)
    step = [-1]
    replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def advance(*_: Any) -> None:
        step[0] += 1

    hook = transformer.register_forward_pre_hook(advance)
    try:
        for index, block in enumerate(getattr(transformer, stack.path)):
            for which, component in enumerate(stack.components):
                way, _, name = component.module.rpartition(".")
                parent = submodule(block, way) if way else block
                assert isinstance(parent, nn.Module)
                module = parent._modules[name]
                assert module is not None
                replaced.append((parent, name, module))
                rows = _rows(masks[:, index, which], prompts, device)
                parent._modules[name] = _Component(module, rows, step)
        yield
    finally:
        hook.remove()
        for parent, name, module in replaced:
            parent._modules[name] = module


def _rows(mask: NDArray[np.bool_], prompts: int, device: str) -> list[Tensor | None]:
    """For each step the pictures in the pair that recompute, None for all. ``mask``: [steps, schedules]."""
    pictures = mask.repeat(prompts, axis=1)
    indices = [np.flatnonzero(row) for row in np.concatenate([pictures, pictures], axis=1)]
    # Over to the device in one piece.
    on_device = torch.from_numpy(np.concatenate(indices)).to(device, non_blocking=True)
    pieces = on_device.split([len(index) for index in indices])
    return [None if row.all() else piece for row, piece in zip(mask, pieces, strict=True)]
