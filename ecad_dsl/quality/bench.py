"""How fast a transformer is under schedules, beside what their multiply-accumulates promise."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec
from ecad_dsl.quality.bootstrap import Array, interval
from ecad_dsl.quality.memory import free_bytes, peak_bytes
from ecad_dsl.quality.timing import Subject, Work, paired_seconds, warm_up
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule, cost
from ecad_dsl.schedule.macs import forward_inputs, samples_run, transformer_of

if TYPE_CHECKING:
    import pandas as pd

NONE, ALL_RECOMPUTE = "none", "all recompute"
"""Names of the two rows that every table begins with."""


@torch.no_grad()
def bench(
    transformer: Any,
    schedules: Mapping[str, Schedule],
    *,
    height: int | None = None,
    width: int | None = None,
    batch: int = 1,
    rounds: int = 5,
    on_round: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Time the denoising loop of a transformer under schedules: no text encoder, no scheduler, no decoder.

    Each step is one forward pass on random inputs of the shapes in the spec, where the weights are. Every schedule
    runs beside the transformer as diffusers wrote it, in ``rounds`` interleaved pairs after a run to warm up; entering
    ``ecad.apply`` and making the plan are not timed. Before the schedules come two rows of the first one's number of
    steps: ``none``, the plain transformer against itself, whose interval says how far this machine is to be trusted,
    and ``all recompute``, which shows what running under a schedule costs in itself.

    Args:
        transformer: of diffusers, on any device; put it into evaluation mode yourself.
        schedules: by the name that the table shows; all made for this transformer.
        height: of the pictures, in pixels; the model's own if not given, as is the width.
        width: as the height.
        batch: pictures in one forward pass. A guidance pair doubles its samples where pipelines run one.
        rounds: pairs for each schedule.
        on_round: told what has been done: ``len(schedules) + 2`` times a memory, then ``rounds`` times a round.

    Returns:
        A row a schedule. ``name``, ``steps``, ``recomputed`` (share of the cells), ``macs`` and ``macs_full`` of one
        picture, ``ms_per_image`` (median), ``ms_per_step`` (of the whole batch), ``speedup`` (median of the paired
        ratios), what the MACs promise (``macs_speedup``, ``macs_full_speedup``) and how much of it is kept
        (``of_macs``, ``of_macs_full``: ratios, 1 for all of it), ``peak_bytes`` (see ``peak_bytes``: beyond weights and
        inputs). ``*_low`` and ``*_high`` bound a median with 95 %: percentile bootstrap over the rounds.

    Raises:
        EcadError: there is no schedule, one has a reserved name or does not fit the transformer, or the model cannot
            make pictures of this size.
    """
    if not schedules:
        raise EcadError("there is nothing to measure; pass at least one schedule")
    if taken := {NONE, ALL_RECOMPUTE} & set(schedules):
        raise EcadError(f"{taken.pop()!r} is a row of every table; give the schedule another name")
    first = next(iter(schedules.values()))
    everything = Schedule(first.spec, (first.rows[0],) * first.steps)
    height = first.spec.inputs["height"] if height is None else height
    width = first.spec.inputs["width"] if width is None else width
    inputs = random_inputs(transformer, first.spec, height, width, batch)
    rows = {NONE: everything, ALL_RECOMPUTE: everything, **schedules}
    plain = partial(_plain, transformer, first.steps, inputs)
    subjects = [plain, *(partial(_under, transformer, schedule, inputs) for schedule in list(rows.values())[1:])]
    device = next(transformer.parameters()).device
    warm_up(subjects)  # before memory too, or what libraries keep for themselves and what compiling takes would count
    peaks = [_peak(subject, device, name, on_round) for name, subject in zip(rows, subjects, strict=True)]
    pairs = paired_seconds(plain, subjects, rounds, on_round)
    return _table(rows, pairs, peaks, (height, width, batch))


def compile_blocks(transformer: nn.Module, spec: ModelSpec) -> None:
    """Let ``torch.compile`` take the blocks one by one, as a schedule needs them."""
    for stack in spec.stacks:
        for block in getattr(transformer, stack.path):
            block.compile()


def random_inputs(transformer: Any, spec: ModelSpec, height: int, width: int, batch: int) -> dict[str, Any]:
    """Arguments of a forward pass as pipelines make it, where the weights are and of their type."""
    weight = next(transformer.parameters())
    as_run = replace(spec, inputs={**spec.inputs, "samples": samples_run(spec)})
    inputs = forward_inputs(as_run, transformer.config, height, width, batch)
    placed: dict[str, Any] = tree_map_only(Tensor, lambda tensor: tensor.to(weight.device, weight.dtype), inputs)
    return placed


@contextmanager
def _plain(transformer: nn.Module, steps: int, inputs: Mapping[str, Any]) -> Iterator[Work]:
    def loop() -> None:
        for _ in range(steps):
            transformer(**inputs)

    yield loop


@contextmanager
def _under(transformer: nn.Module, schedule: Schedule, inputs: Mapping[str, Any]) -> Iterator[Work]:
    with apply(transformer, schedule) as run:

        def loop() -> None:
            for _ in range(schedule.steps):
                transformer(**inputs)
                run.next_step()

        yield loop


def _peak(subject: Subject, device: torch.device, name: str, on_done: Callable[[str], None]) -> int:
    with subject() as work:
        peak = peak_bytes(work, device)
    on_done(f"memory, {name}")
    return peak


def _table(
    rows: Mapping[str, Schedule],
    pairs: list[list[tuple[float, float]]],
    peaks: list[int],
    size: tuple[int, int, int],
) -> pd.DataFrame:
    import pandas as pd

    height, width, batch = size
    costs = [cost(schedule, height, width) for schedule in rows.values()]
    lines = []
    for name, schedule, macs, seconds, peak in zip(rows, rows.values(), costs, pairs, peaks, strict=True):
        plain, own = np.array(seconds).T
        promise, promise_full = costs[0].macs / macs.macs, costs[0].macs_full / macs.macs_full
        speedup = _median("speedup", plain / own)
        lines.append(
            {
                "name": name,
                "steps": schedule.steps,
                "recomputed": schedule.recomputed / (schedule.steps * schedule.spec.cells),
                "macs": macs.macs,
                "macs_full": macs.macs_full,
                **_median("ms_per_image", 1000 * own / batch),
                "ms_per_step": 1000 * float(np.median(own)) / schedule.steps,
                **speedup,
                "macs_speedup": promise,
                "macs_full_speedup": promise_full,
                "of_macs": speedup["speedup"] / promise,
                "of_macs_full": speedup["speedup"] / promise_full,
                "peak_bytes": peak,
            }
        )
    return pd.DataFrame(lines)


def _median(name: str, values: Array) -> dict[str, float]:
    low, high = interval(values, np.median)
    return {name: float(np.median(values)), f"{name}_low": low, f"{name}_high": high}


def scaled(spec: ModelSpec, blocks: int | None = None, heads: int | None = None) -> ModelSpec:
    """A smaller (or larger) model of the spec's class.

    Args:
        spec: what is scaled.
        blocks: over all stacks, which keep their proportions and at least one block each. None: as many as before.
        heads: attention heads, whose size stays: the width of the model is their number times their size.

    Raises:
        EcadError: the spec's configuration names no attention heads.
    """
    if blocks is not None:
        spec = spec.resized({s.name: max(1, round(s.blocks * blocks / spec.blocks)) for s in spec.stacks})
    if heads is None:
        return spec
    if not {"num_attention_heads", "attention_head_dim"} <= set(spec.config):
        raise EcadError(
            f"the spec of {spec.title} does not say how many attention heads there are; leave them as they are"
        )
    size = spec.config["attention_head_dim"]
    before = spec.config["num_attention_heads"] * size
    # What is as wide as the model (PixArt's cross-attention) stays so.
    config = {key: heads * size if value == before else value for key, value in spec.config.items()}
    return replace(spec, config={**config, "num_attention_heads": heads})


def random_transformer(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The transformer of a spec with random weights from torch's own generator, ready for inference.

    Raises:
        EcadError: diffusers has no such transformer, or its weights alone take more memory than is free.
    """
    # Not diffusers' own `to`, which warns that a checkpoint may have parts to keep in float32.
    transformer: nn.Module = nn.Module.to(transformer_of(spec), dtype)
    needed, free = weight_bytes(transformer), free_bytes(device)
    if free is not None and needed > free:
        raise EcadError(
            f"the weights of {spec.title} take {needed / 2**30:.1f} GiB in {dtype}".replace("torch.", "")
            + f", but {device} has {free / 2**30:.1f} GiB free; take fewer blocks or heads, bfloat16, or another device"
        )
    transformer.to_empty(device=device).eval().requires_grad_(False)
    for tensor in (*transformer.parameters(), *transformer.buffers()):
        if tensor.is_floating_point():
            # As large as the inputs of one output are many, so that signals neither die nor explode.
            tensor.normal_(std=max(1, tensor[0].numel() if tensor.ndim > 1 else tensor.numel()) ** -0.5)
        else:
            tensor.zero_()
    return transformer


def weight_bytes(transformer: nn.Module) -> int:
    """What the weights of a transformer take."""
    return sum(tensor.nbytes for tensor in (*transformer.parameters(), *transformer.buffers()))


def machine(device: torch.device) -> dict[str, Any]:
    """What figures depend on and should be published with."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "device_name": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
