"""What evolution asks of the world: a space of schedules, and the reward and cost of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol, cast

import torch
from torch import Tensor

from ecad_dsl.language.tree import Program
from ecad_dsl.models import ModelSpec
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.measure import Sampler
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.quality.reward import psnr
from ecad_dsl.quality.timing import share_of_time
from ecad_dsl.runtime import inspect
from ecad_dsl.schedule import Schedule, compile, cost
from ecad_dsl.schedule.cost import Cost


class Problem(Protocol):
    """Implement this to evolve schedules for a model of your own.

    ``reward`` and ``fidelity`` return one number for each prompt, [prompts], always in the same order; or their mean.
    One of the two is enough where nothing asks for the other. Further methods are asked for where they are objectives:
    ``macs_full``, ``cache_bytes`` (each a number that the schedule tells) and ``latency`` (measured, see
    :func:`~ecad_dsl.quality.timing.share_of_time`). See also :class:`Prompted`.
    """

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def steps(self) -> int: ...

    @property
    def settings(self) -> Mapping[str, object]:
        """Whatever the rewards depend on: texts, numbers and lists of these. A run is resumed only with the same."""
        ...

    def fidelity(self, schedule: Schedule) -> float | Array:
        """How close the pictures come to those without a cache, more is better. May raise, like ``reward``."""
        ...

    def reward(self, schedule: Schedule) -> float | Array:
        """The pictures' reward, more is better. May raise: the candidate is then recorded as failed."""
        ...

    def macs(self, schedule: Schedule) -> int:
        """Multiply-accumulates of one picture."""
        ...


class Prompted(Problem, Protocol):
    """A problem that may be had with other prompts: to be judged on what the search has not seen, or to search on parts
    of its prompts in turn. Its arrays have one number for each of its prompts.
    """

    @property
    def prompts(self) -> PromptSet:
        """What the search measures on."""
        ...

    @property
    def held_out(self) -> PromptSet | None:
        """What the front is measured on in the end; None: it is not."""
        ...

    def on(self, prompts: PromptSet) -> Problem:
        """The same problem with these prompts."""
        ...


def prompted(problem: Problem) -> Prompted | None:
    """The problem, if it may be had with other prompts."""
    complete = all(hasattr(problem, name) for name in ("prompts", "held_out", "on"))
    return cast(Prompted, problem) if complete else None


@dataclass(frozen=True)
class PipelineProblem:
    """A diffusers pipeline's pictures for a fixed set of prompts and seeds."""

    sampler: Sampler
    """Of the calibration prompts; rewards are means over all of them."""
    steps: int
    first: int = 12
    """So many of the prompts are enough to tell fidelity."""
    held_out: PromptSet | None = None
    """Prompts for the front, once it is found."""

    @cached_property
    def spec(self) -> ModelSpec:
        return inspect(self.sampler.pipe)

    @property
    def settings(self) -> dict[str, str | int]:
        sampler = self.sampler
        asked = repr((sampler.prompts, getattr(sampler.reward, "__qualname__", ""), sorted(sampler.options.items())))
        return {
            "model": self.spec.name,
            "steps": self.steps,
            "prompts": len(sampler.prompts),
            "first": self.first,
            "held-out prompts": 0 if self.held_out is None else len(self.held_out),
            "held out": "" if self.held_out is None else self.held_out.sha256,
            "asked": hashlib.sha256(asked.encode()).hexdigest(),
        }

    @property
    def prompts(self) -> PromptSet:
        return self.sampler.prompts

    def on(self, prompts: PromptSet) -> PipelineProblem:
        return replace(self, sampler=replace(self.sampler, prompts=prompts), first=len(prompts), held_out=None)

    @cached_property
    def _first(self) -> Sampler:
        return replace(self.sampler, prompts=self.sampler.prompts[: self.first])

    @cached_property
    def _uncached(self) -> Tensor:
        return self._first.pictures(compile(Program(()), self.spec, self.steps))

    def fidelity(self, schedule: Schedule) -> Array:
        return psnr(self._first.pictures(schedule), self._uncached).double().numpy()

    def reward(self, schedule: Schedule) -> Array:
        return self.sampler.rewards(schedule)

    def latency(self, schedule: Schedule) -> float:
        """Of a batch of the first prompts, text encoding included, as a share of its time without a cache."""
        timed = self._first
        return share_of_time(partial(timed.plain, self.steps), partial(timed.under, schedule))

    def macs(self, schedule: Schedule) -> int:
        return self._cost(schedule).macs

    def macs_full(self, schedule: Schedule) -> int:
        return self._cost(schedule).macs_full

    def cache_bytes(self, schedule: Schedule) -> int:
        """Of one picture."""
        return self._cost(schedule).cache_elements * self._transformer_dtype.itemsize

    def _cost(self, schedule: Schedule) -> Cost:
        return cost(schedule, self.sampler.options.get("height"), self.sampler.options.get("width"))

    @property
    def _transformer_dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.sampler.pipe.transformer.dtype
        return dtype
