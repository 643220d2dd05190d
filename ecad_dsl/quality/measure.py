"""Measurements of schedules on a pipeline: the pictures they give, their reward, the time they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.quality.reward import Reward, reference_reward
from ecad_dsl.quality.timing import Work, paired_seconds, warm_up
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule, cost
from ecad_dsl.workers import Workers


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
    finish: Callable[[Tensor], Tensor] | None = None
    """Makes pictures in [0, 1] of what the pipeline returns, where that is something else."""

    def pictures(self, schedule: Schedule) -> Tensor:
        """[prompts, 3, height, width] in [0, 1]."""
        return torch.cat([self._draw(schedule, start) for start in range(0, len(self.prompts), self.batch)])

    def rewards(self, schedule: Schedule) -> Array:
        """The reward of each prompt's picture, [prompts]."""
        pictures = self.pictures(schedule)
        return self.reward(pictures, self.prompts.prompts).double().numpy()

    @contextmanager
    def plain(self, steps: int) -> Iterator[Work]:
        """To be timed: one batch of pictures by the pipeline as diffusers wrote it. Text encoding is part of it."""
        yield lambda: self._call(steps, 0)

    @contextmanager
    def under(self, schedule: Schedule) -> Iterator[Work]:
        """To be timed: the same under a schedule. Making its plan is no part of it."""
        with apply(self.pipe, schedule):
            yield lambda: self._call(schedule.steps, 0)

    def _draw(self, schedule: Schedule, start: int) -> Tensor:
        with apply(self.pipe, schedule):
            return self._call(schedule.steps, start)

    def _call(self, steps: int, start: int) -> Tensor:
        chosen = slice(start, start + self.batch)
        noise = [torch.Generator().manual_seed(seed) for seed in self.prompts.seeds[chosen]]
        prompts = list(self.prompts.prompts[chosen])
        images: Tensor = self.pipe(prompts, num_inference_steps=steps, generator=noise, **self.options).images
        return images if self.finish is None else self.finish(images)


def reference_sampler(pipe: ReferencePipeline, prompts: PromptSet, batch: int = 64) -> Sampler:
    """Of the reference model: its latents are the pixels, so nothing needs decoding. Pictures are [n, 3, 16, 16]."""
    return Sampler(
        pipe,
        prompts,
        reference_reward,
        batch,
        {"output_type": "latent"},
        _pixels,
    )


def _pixels(latents: Tensor) -> Tensor:
    return (latents / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Entry:
    """A schedule under the name and group that tables and plots show."""

    name: str
    group: str
    """``none``, ``fewer steps``, ``baseline`` or ``evolved``."""
    schedule: Schedule
    family: str = ""
    """Entries of one family differ in their parameters alone (FORA 2, FORA 3); the group if nothing is said."""


@dataclass(frozen=True)
class Measured:
    """An entry as it was measured. Rewards are of the same prompts and noise in every row measured together."""

    entry: Entry
    macs: int
    """Of one picture."""
    rewards: Array
    """[prompts]"""
    seconds: tuple[tuple[float, float], ...] = ()
    """For each round, a batch's time (under no schedule, under this one), taken one after the other."""
    batch: int = 1
    """Pictures in that batch."""


class Rewarding(Protocol):
    """What ``measure`` asks for the rewards of schedules: a sampler, or a pipeline with a metric."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Of the pipeline's call; ``height`` and ``width`` decide the cost."""
        ...

    def rewards(self, schedule: Schedule) -> Array:
        """The reward of each prompt's picture, [prompts]."""
        ...


def measure(
    sampler: Rewarding,
    entries: Sequence[Entry],
    timer: Sampler | None = None,
    rounds: int = 5,
    *,
    on_done: Callable[[str], None] = lambda _: None,
    workers: int = 1,
) -> list[Measured]:
    """Rewards of every entry on the sampler's prompts and, where a timer is given, times of its batch.

    Rewards are measured by so many processes side by side (see ``Workers``), times by this one alone.

    Times are compared with the pipeline under no schedule, at the first entry's number of steps.

    Raises:
        EcadError: two entries have the same name; or one could not be measured.
    """
    if len({entry.name for entry in entries}) < len(entries):
        raise EcadError("two schedules to be measured have the same name; rename one of the files")
    rewards: dict[int, Array] = {}
    with Workers(sampler, workers) as pool:
        for index, outcome in pool.map("rewards", {i: entry.schedule for i, entry in enumerate(entries)}):
            if outcome.error is not None:
                raise EcadError(f"{entries[index].name} cannot be measured: {outcome.error}")
            rewards[index] = outcome.value
            on_done(entries[index].name)
    height, width = (sampler.options.get(side) for side in ("height", "width"))
    measured = [
        Measured(entry, cost(entry.schedule, height, width).macs, rewards[i]) for i, entry in enumerate(entries)
    ]
    if timer is None:
        return measured
    steps, batch = entries[0].schedule.steps, min(timer.batch, len(timer.prompts))
    subjects = [partial(timer.under, entry.schedule) for entry in entries]
    plain = partial(timer.plain, steps)
    warm_up((plain, *subjects))
    seconds = paired_seconds(plain, subjects, rounds, on_done)
    return [replace(m, seconds=tuple(pairs), batch=batch) for m, pairs in zip(measured, seconds, strict=True)]
