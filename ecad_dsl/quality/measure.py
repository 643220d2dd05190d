"""Measurements of schedules on a pipeline: the pictures they give, their reward, the time they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.quality.reward import Reward, reference_reward
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule, cost

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Sampler:
    """Draws the same pictures again and again, each time under another schedule.

    Prompts and starting noise are the same for all schedules (common random numbers), so that differences between
    schedules are not drowned by differences between pictures.
    """

    pipe: Any
    prompts: PromptSet
    reward: Reward
    batch: int = 64
    options: Mapping[str, Any] = field(default_factory=lambda: {"output_type": "pt"})
    """Further arguments of the pipeline's call."""
    finish: Callable[[Tensor], Tensor] = lambda pictures: pictures
    """Makes pictures in [0, 1] of what the pipeline returns."""

    def pictures(self, schedule: Schedule) -> Tensor:
        """[prompts, 3, height, width] in [0, 1]."""
        return torch.cat([self._draw(schedule, start) for start in range(0, len(self.prompts), self.batch)])

    def rewards(self, schedule: Schedule) -> Array:
        """The reward of each prompt's picture, [prompts]."""
        pictures = self.pictures(schedule)
        return self.reward(pictures, self.prompts.prompts).double().numpy()

    def seconds(self, schedule: Schedule) -> float:
        """Wall-clock time of one batch of pictures, text encoding included."""
        start = time.perf_counter()
        self._draw(schedule, 0)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _draw(self, schedule: Schedule, start: int) -> Tensor:
        chosen = slice(start, start + self.batch)
        noise = [torch.Generator().manual_seed(seed) for seed in self.prompts.seeds[chosen]]
        prompts = list(self.prompts.prompts[chosen])
        with apply(self.pipe, schedule):
            result = self.pipe(prompts, num_inference_steps=schedule.steps, generator=noise, **self.options)
        return self.finish(result.images)


def reference_sampler(pipe: ReferencePipeline, prompts: PromptSet, batch: int = 64) -> Sampler:
    """Of the reference model: its latents are the pixels, so nothing needs decoding. Pictures are [n, 3, 16, 16]."""
    return Sampler(
        pipe,
        prompts,
        reference_reward,
        batch,
        {"output_type": "latent"},
        lambda latents: (latents / 2 + 0.5).clamp(0, 1),
    )


@dataclass(frozen=True)
class Entry:
    """A schedule under the name and group that tables and plots show."""

    name: str
    group: str
    """``none``, ``fewer steps``, ``baseline`` or ``evolved``."""
    schedule: Schedule


@dataclass(frozen=True)
class Measured:
    """An entry as it was measured; rewards and times are paired with those of the entries measured beside it."""

    entry: Entry
    macs: int
    """Of one picture."""
    rewards: Array
    """[prompts]"""
    seconds: tuple[float, ...] = ()
    """Of one batch, a figure for each round. Empty where no time was taken."""
    batch: int = 1
    """Pictures in that batch."""


def measure(
    sampler: Sampler,
    entries: Sequence[Entry],
    timer: Sampler | None = None,
    rounds: int = 5,
    on_done: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Rewards of every entry on the sampler's prompts and, where a timer is given, seconds of its batch."""
    rewards = {}
    for entry in entries:
        rewards[entry.name] = sampler.rewards(entry.schedule)
        on_done(entry.name)
    seconds: dict[str, list[float]] = {}
    if timer is not None:
        seconds = paired_seconds(timer, {e.name: e.schedule for e in entries}, rounds, on_done)
    return [
        Measured(
            e,
            cost(e.schedule).macs,
            rewards[e.name],
            tuple(seconds.get(e.name, ())),
            min(timer.batch, len(timer.prompts)) if timer else 1,
        )
        for e in entries
    ]


def paired_seconds(
    sampler: Sampler,
    schedules: Mapping[str, Schedule],
    rounds: int = 5,
    on_run: Callable[[str], None] = lambda _: None,
) -> dict[str, list[float]]:
    """Seconds of one batch under each schedule, measured in turn ``rounds`` times after one run to warm up.

    The order alternates from round to round, so that a machine whose speed drifts is equally unfair to all.
    """
    names = list(schedules)
    for name in names:
        sampler.seconds(schedules[name])
        on_run(name)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds[name].append(sampler.seconds(schedules[name]))
            on_run(name)
    return seconds
