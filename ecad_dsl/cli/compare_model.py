"""``ecad compare --model``: what schedules are measured on, where it is not the reference model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.models import ModelSpec
    from ecad_dsl.pipelines.load import Loading
    from ecad_dsl.quality.measure import Rewarding, Sampler
    from ecad_dsl.quality.prompts import PromptSet

HELD_OUT_SEED = 1_000_000
"""Of the first picture, as in `ecad evolve`: no noise is shared with the calibration prompts'."""


@dataclass(frozen=True)
class Bed:
    """What schedules are measured on."""

    spec: ModelSpec
    prompts: PromptSet
    sampler: Rewarding
    timer: Sampler | None
    """Of a batch that is timed."""
    title: str
    workers: int | None = None
    """Processes, if the user does not say; None: one a CPU."""


@dataclass(frozen=True)
class Judge:
    """What a pipeline's pictures are judged by, and how they are drawn."""

    metric: str
    weights: str | None
    embeddings: Path | None
    size: Mapping[str, Any]
    batch: int


def drawn_with(bed: Bed, options: Mapping[str, Any]) -> Rewarding:
    """The bed's pictures with other arguments of the pipeline's call, which is not loaded again for it.

    A pipeline has one set of them at a time: what is asked for last.
    """
    from ecad_dsl.evolution.full_size import Judged
    from ecad_dsl.quality.measure import Sampler

    if isinstance(bed.sampler, Judged):
        bed.sampler.problem.studio.options = {**bed.sampler.options, **options}
        return bed.sampler
    assert isinstance(bed.sampler, Sampler)
    return replace(bed.sampler, options={**bed.sampler.options, **options})


def pipeline_bed(
    loading: Loading, judge: Judge, file: Path | None, count: int, steps: int, seed: int, *, timed: bool
) -> Bed:
    """A pipeline with so many of the prompts in a file, all of them if it has fewer.

    Raises:
        EcadError: no file is named, it cannot be read, or there is no such metric.
    """
    import torch

    from ecad_dsl.evolution.full_size import FullSizeProblem, Judged, Studio, check_reward
    from ecad_dsl.quality.prompt_files import read_prompts

    check_reward(judge.metric)
    if file is None:
        raise EcadError("name the held-out prompts: --prompt-file FILE (`ecad prompts` reads them)")
    found = read_prompts(file)
    prompts = found.subset(min(count, len(found)), seed).with_seeds(seed + HELD_OUT_SEED)
    if judge.embeddings is not None:
        from ecad_dsl.pipelines.embeddings import Embeddings

        Embeddings(judge.embeddings).check(prompts.prompts)
    studio = Studio(loading, judge.metric, judge.weights, judge.embeddings, judge.size, judge.batch)
    problem = FullSizeProblem(studio, prompts, steps)
    judged = Judged(problem)
    title = f"{len(prompts)} prompts of {found.name} on {loading.model}, {judge.metric}"
    gpus = max(1, torch.cuda.device_count()) if loading.device is None else 1
    return Bed(problem.spec, prompts, judged, judged.timer(judge.batch) if timed else None, title, gpus)
