"""A search on a published pipeline: pictures of its own, measured by a metric, with room for both on the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ecad_dsl.errors import EcadError
from ecad_dsl.language.tree import Program
from ecad_dsl.models import ModelSpec
from ecad_dsl.pipelines.load import Loading, call_defaults, load_with_embeddings, spec_of
from ecad_dsl.pipelines.pictures import of_this_process
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.measure import Sampler
from ecad_dsl.quality.memory import free_bytes
from ecad_dsl.quality.metric import Batch, Metric
from ecad_dsl.quality.metrics import METRICS, Asked, load_metric
from ecad_dsl.quality.prompts import PromptSet
from ecad_dsl.quality.reward import reference_reward
from ecad_dsl.quality.timing import share_of_time
from ecad_dsl.runtime import apply
from ecad_dsl.schedule import Schedule, compile, cost
from ecad_dsl.schedule.cost import Cost

FIRST = 12
"""So many of the prompts are enough to tell fidelity."""
_MOST = 64
"""Pictures in a batch at most: beyond, a device is no faster."""
_ON_CPU = 4
_SPARE = 0.8
"""Share of the free memory that a batch may take; what an allocator leaves unused is not to be had."""


@dataclass(eq=False)
class Studio:
    """A pipeline and a metric, loaded where they are first needed. It pickles as the recipe for both."""

    loading: Loading
    metric: str = "image-reward"
    weights: str | None = None
    """Of the metric: a file, a folder or a name on the hub; the published ones if None."""
    embeddings: Path | None = None
    """Folder that `ecad embed` filled; the text encoder is then not loaded."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the pipeline's call beside the model's own settings."""
    batch: int | None = None
    """Pictures drawn together; None until it is measured how many fit. Where it was too many, it shrinks."""

    @cached_property
    def own(self) -> Loading:
        """How the pipeline is loaded in this process, which may have a GPU of its own."""
        return of_this_process(self.loading)

    @cached_property
    def pipe(self) -> Any:
        """The pipeline.

        Raises:
            EcadError: it cannot be loaded.
        """
        return load_with_embeddings(self.own, self.embeddings)

    @cached_property
    def judge(self) -> Metric:
        """The metric.

        Raises:
            EcadError: it cannot be loaded, or does not give each picture a number by itself.
        """
        check_reward(self.metric)
        return load_metric(self.metric, Asked(self.weights, str(self.own.torch_device)))

    def draw(self, prompts: PromptSet, schedule: Schedule) -> list[Image.Image]:
        """A batch of pictures. What does not fit in the memory is drawn in halves.

        Raises:
            torch.OutOfMemoryError: not even one picture fits.
        """
        try:
            return self._call(prompts, schedule)
        except torch.OutOfMemoryError:
            if len(prompts) == 1:
                raise
        _forget()
        self.batch = middle = len(prompts) // 2
        return self.draw(prompts[:middle], schedule) + self.draw(prompts[middle:], schedule)

    def batch_for(self, prompts: PromptSet, schedule: Schedule) -> int:
        """How many pictures are drawn together."""
        if self.batch is None:
            self.batch = self._measured(prompts[:1], schedule)
        return self.batch

    def _measured(self, one: PromptSet, schedule: Schedule) -> int:
        """By the memory that a single picture takes, where a device tells."""
        device = self.own.torch_device
        if device.type != "cuda":
            return _ON_CPU
        _ = self.judge  # it takes its share before
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        self._call(one, schedule)
        taken = torch.cuda.max_memory_allocated(device) - before
        _forget()
        return pictures_that_fit(taken, free_bytes(device) or 0)

    def _call(self, prompts: PromptSet, schedule: Schedule) -> list[Image.Image]:
        noise = [torch.Generator().manual_seed(seed) for seed in prompts.seeds]
        options = {**call_defaults(self.pipe), **self.options, "num_inference_steps": schedule.steps}
        with apply(self.pipe, schedule):
            return list(self.pipe(list(prompts.prompts), generator=noise, **options).images)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def check_reward(metric: str) -> None:
    """Refuse what a search cannot go by.

    Raises:
        EcadError: there is no such metric, or a picture and its prompt do not tell it.
    """
    rewards = [name for name, known in METRICS.items() if known.is_reward]
    if metric not in rewards:
        what = (
            f"{metric} takes more than a picture and its prompt" if metric in METRICS else f"unknown metric {metric!r}"
        )
        raise EcadError(f"{what}; a search goes by one of {', '.join(rewards)}")


def pictures_that_fit(taken: int, free: int) -> int:
    """How many pictures fill the free memory, of which one takes so much; at least one."""
    return max(1, min(_MOST, int(_SPARE * free) // max(1, taken)))


def _forget() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class FullSizeProblem:
    """Schedules of a pipeline, by the reward of the pictures that they give for calibration prompts."""

    studio: Studio
    prompts: PromptSet
    steps: int
    held_out: PromptSet | None = None
    first: int = FIRST
    """So many of the prompts tell fidelity."""

    @cached_property
    def spec(self) -> ModelSpec:
        """Read off the configuration: no weights are loaded for it."""
        return spec_of(self.studio.loading)

    @property
    def settings(self) -> dict[str, str | int]:
        """All that rewards depend on, and all that it takes to resume: :func:`problem_of` reads it again."""
        studio, loading = self.studio, self.studio.loading
        source = loading.source
        return {
            "model": loading.model,
            "revision": "" if source is None else source.revision or "",
            "dtype": str(loading.torch_dtype).removeprefix("torch."),
            "offload": loading.offload,
            "quantize": loading.quantize,
            "metric": studio.metric,
            "metric weights": studio.weights or "",
            "embeddings": str(studio.embeddings or ""),
            "options": json.dumps(dict(studio.options), sort_keys=True),
            "steps": self.steps,
            "prompts": len(self.prompts),
            "held-out prompts": 0 if self.held_out is None else len(self.held_out),
            "asked": hashlib.sha256(repr((self.prompts.sha256, _sha256(self.held_out))).encode()).hexdigest(),
        }

    def on(self, prompts: PromptSet) -> FullSizeProblem:
        """The same with other prompts, and with the same pipeline."""
        return replace(self, prompts=prompts, held_out=None, first=len(prompts))

    def reward(self, schedule: Schedule) -> Array:
        """[prompts]"""
        judge = self.studio.judge
        batches = self._batches(self.prompts, schedule)
        return np.concatenate([judge.numbers(Batch(drawn, batch.prompts))[:, 0] for batch, drawn in batches])

    def fidelity(self, schedule: Schedule) -> Array:
        """PSNR to the uncached pictures of the first prompts."""
        from ecad_dsl.quality.fidelity import Psnr

        first = self.prompts[: self.first]
        pictures = [picture for _, batch in self._batches(first, schedule) for picture in batch]
        return Psnr().numbers(Batch(pictures, originals=self._uncached))[:, 0]

    def latency(self, schedule: Schedule) -> float:
        """Of one picture, from the prompt to the pixels, as a share of its time without a cache."""
        timed = Judged(self).timer(1)
        return share_of_time(partial(timed.plain, self.steps), partial(timed.under, schedule))

    def macs(self, schedule: Schedule) -> int:
        """Of one picture of the size that is drawn."""
        return self._cost(schedule).macs

    def macs_full(self, schedule: Schedule) -> int:
        return self._cost(schedule).macs_full

    def cache_bytes(self, schedule: Schedule) -> int:
        return self._cost(schedule).cache_elements * self.studio.loading.torch_dtype.itemsize

    def _cost(self, schedule: Schedule) -> Cost:
        return cost(schedule, self.studio.options.get("height"), self.studio.options.get("width"))

    @cached_property
    def _uncached(self) -> list[Image.Image]:
        everything = compile(Program(()), self.spec, self.steps)
        return [picture for _, batch in self._batches(self.prompts[: self.first], everything) for picture in batch]

    def _batches(self, prompts: PromptSet, schedule: Schedule) -> Iterator[tuple[PromptSet, list[Image.Image]]]:
        size = self.studio.batch_for(prompts, schedule)
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            yield batch, self.studio.draw(batch, schedule)


@dataclass(frozen=True)
class Judged:
    """A pipeline's pictures with their rewards, for ``ecad_dsl.quality.measure.measure``."""

    problem: FullSizeProblem

    @property
    def options(self) -> Mapping[str, Any]:
        return self.problem.studio.options

    def rewards(self, schedule: Schedule) -> Array:
        """[prompts]"""
        return self.problem.reward(schedule)

    def timer(self, batch: int) -> Sampler:
        """What draws a batch of so many pictures to be timed: text encoding, denoising, decoding."""
        studio, pictures = self.problem.studio, self.problem.prompts[:batch]
        options = {**call_defaults(studio.pipe), **studio.options, "output_type": "pt"}
        options.pop("num_inference_steps", None)  # the schedule's
        return Sampler(studio.pipe, pictures, reference_reward, len(pictures), options)


def _sha256(prompts: PromptSet | None) -> str:
    return "" if prompts is None else prompts.sha256


def problem_of(config: Mapping[str, Any], device: str | None = None, batch: int | None = None) -> FullSizeProblem:
    """The problem of a run, of what its config.toml holds.

    Raises:
        EcadError: the run was not one on a pipeline.
    """
    told = config["problem"]
    if "metric" not in told:
        raise EcadError("the run is not one on a published pipeline")
    loading = Loading(told["model"], told["revision"] or None, told["dtype"], device, told["offload"], told["quantize"])
    studio = Studio(
        loading,
        told["metric"],
        told["metric weights"] or None,
        Path(told["embeddings"]) if told["embeddings"] else None,
        json.loads(told["options"]),
        batch,
    )
    sets = {name: _prompts(name, entry["prompts"]) for name, entry in config.get("prompts", {}).items()}
    return FullSizeProblem(studio, sets["calibration"], told["steps"], sets.get("held-out"))


def _prompts(name: str, entries: list[dict[str, Any]]) -> PromptSet:
    return PromptSet(name, tuple(e["prompt"] for e in entries), tuple(e["seed"] for e in entries))
