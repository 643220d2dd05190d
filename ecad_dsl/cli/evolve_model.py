"""``ecad evolve --model``: a search on a published pipeline, with what it is going to take said beforehand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ecad_dsl.cli.console import echo_err
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.evolution.full_size import FullSizeProblem
    from ecad_dsl.evolution.search import Progress
    from ecad_dsl.quality.prompts import PromptSet

HELD_OUT_SEED = 1_000_000
"""Of the first held-out picture: no noise is shared with the calibration prompts'."""


class PipelineSettings(TypedDict):
    """What is searched on, where it is not the reference model."""

    model: str
    metric: str
    weights: str | None
    prompt_file: Path | None
    held_out_file: Path | None
    images: int
    height: int | None
    width: int | None
    embeddings: Path | None
    revision: str | None
    dtype: Any
    device: str | None
    offload: str
    quantize: str
    batch: int | None


def pipeline_problem(pipeline: PipelineSettings, prompts: int, held_out: int, steps: int, seed: int) -> FullSizeProblem:
    """The problem that the options describe; all that can be wrong about them is said before anything is loaded.

    Raises:
        EcadError: there is no such model, metric or file of prompts, or too few of them.
    """
    from ecad_dsl.cli.loading import loading_of
    from ecad_dsl.evolution.full_size import FullSizeProblem, Studio, check_reward

    check_reward(pipeline["metric"])
    if pipeline["prompt_file"] is None:
        raise EcadError("name the calibration prompts of the search: --prompt-file FILE (`ecad prompts` reads them)")
    loading = loading_of(
        pipeline["model"],
        pipeline["revision"],
        pipeline["dtype"],
        pipeline["device"],
        pipeline["offload"],
        pipeline["quantize"],
    )
    size = {key: value for key, value in (("height", pipeline["height"]), ("width", pipeline["width"])) if value}
    studio = Studio(
        loading, pipeline["metric"], pipeline["weights"], _path(pipeline["embeddings"]), size, pipeline["batch"]
    )
    calibration = _prompts("calibration", Path(pipeline["prompt_file"]), prompts, pipeline["images"], seed)
    unseen = None
    if pipeline["held_out_file"] is not None and held_out:
        unseen = _prompts("held-out", Path(pipeline["held_out_file"]), held_out, 1, seed + HELD_OUT_SEED)
    if studio.embeddings is not None:
        from ecad_dsl.pipelines.embeddings import Embeddings

        Embeddings(studio.embeddings).check([*calibration.prompts, *(unseen.prompts if unseen else ())])
    return FullSizeProblem(studio, calibration, steps, unseen)


def _prompts(name: str, file: Path, count: int, images: int, seed: int) -> PromptSet:
    from dataclasses import replace

    from ecad_dsl.quality.prompt_files import read_prompts

    found = read_prompts(file)
    chosen = found.subset(min(count, len(found)), seed % HELD_OUT_SEED)
    return replace(chosen.with_seeds(seed, images), name=name)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def resumed_problem(folder: Path, device: str | None, batch: int | None) -> FullSizeProblem | None:
    """The problem of a run that is gone on with; None for one on the reference model."""
    from ecad_dsl.evolution.config import read_config
    from ecad_dsl.evolution.full_size import problem_of

    config = read_config(folder)
    return problem_of(config, device, batch) if "metric" in config["problem"] else None


def announce(problem: FullSizeProblem, settings: Mapping[str, Any]) -> None:
    """Say what the search does and what memory it takes, before it starts.

    Raises:
        EcadError: the weights alone do not fit.
    """
    from ecad_dsl.evolution.outlook import memory_plan
    from ecad_dsl.pipelines.needs import in_gib

    studio, prompts = problem.studio, problem.prompts
    pictures = sum(
        {"reward": len(prompts), "fidelity": min(len(prompts), problem.first)}.get(name, 0)
        for name in settings["objective"].split(",")
    )
    candidates = settings["population"] * (settings["generations"] + 1)
    echo_err(
        f"{studio.loading.model} in {str(studio.loading.torch_dtype).removeprefix('torch.')} on"
        f" {studio.loading.torch_device}, {problem.steps} steps: {candidates:,} candidates of {pictures:,} pictures"
        f" each, {candidates * pictures:,} pictures at most"
    )
    plan = memory_plan(problem)
    for part, size in plan.fixed.items():
        echo_err(f"  {part}: {in_gib(size)}")
    if plan.kept is not None:
        echo_err(f"  kept outputs: at most {in_gib(plan.kept)} a picture")
    if plan.free is not None and plan.left is not None:
        echo_err(
            f"  free on {studio.loading.torch_device}: {in_gib(plan.free)}, of which pictures have {in_gib(plan.left)}"
        )
        if plan.left <= 0 and studio.loading.offload == "none":
            raise EcadError(
                "the weights do not fit; take `ecad embed` and --embeddings, --dtype bfloat16, --offload model, or"
                " --quantize bnb-nf4 (`ecad doctor` says what fits)"
            )
    echo_err(f"  batch: {studio.batch or 'as many pictures as fit'}")


def with_estimate(progress: Iterable[Progress], settings: Mapping[str, Any]) -> Iterator[Progress]:
    """The same, with the hours that are left said once the first generation is measured."""
    from ecad_dsl.evolution.outlook import hours_left

    start, told = time.monotonic(), False
    for step in progress:
        if not told and step.evaluated >= settings["population"]:
            told = True
            still = settings["population"] * settings["generations"]
            if step.measured and still:
                hours = hours_left(time.monotonic() - start, step.measured, still)
                echo_err(
                    f"the first {step.measured} candidates took {hours_left(time.monotonic() - start, 1, 1):.2f} h;"
                    f" {still:,} more in {settings['generations']} generations: about {hours:.1f} h on this machine"
                )
        yield step
