"""``ecad generate``: pictures under a schedule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.console import echo, open_schedule
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.cli.console import OpenSchedule


def register(app: typer.Typer) -> None:
    app.command()(generate)


def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to draw.")],
    schedule: Annotated[str | None, typer.Option("--schedule", "-c", help="Its file; none: no caching.")] = None,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="reference, or a diffusers pipeline's folder or hub name.")
    ] = "reference",
    steps: Annotated[int | None, typer.Option("--steps", "-s", min=1, help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; the pipeline's own if not given.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="Seed of the first picture's noise; the next ones count up.")
    ] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("pictures"),
) -> None:
    """Generate pictures, under a schedule if one is given."""
    from ecad_dsl.cli.console import writable_folder
    from ecad_dsl.files import write_beside

    opened = open_schedule(schedule) if schedule is not None else None
    pipe = _load(pipeline)
    if pipeline == "reference":
        _check_captions(prompts)
    existed = output.exists()
    folder = writable_folder(output)
    start = time.perf_counter()
    try:
        pictures = _draw(pipe, prompts, opened, steps, guidance, seed)
    except EcadError:
        if not existed:
            folder.rmdir()
        raise
    seconds = time.perf_counter() - start
    for number, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True), start=seed):
        path = folder / f"{number}-{'-'.join(prompt.lower().split())[:60].strip('-')}.png".replace("/", "-")
        write_beside(path, picture.save)
        echo(f"{path}")
    echo(f"{seconds / len(prompts):.2f} s a picture")


def _load(name: str) -> Any:
    if name == "reference":
        from ecad_dsl.reference.pipeline import load_reference

        return load_reference()
    from diffusers import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(name, low_cpu_mem_usage=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EcadError(
            f"cannot load the pipeline {name!r}: {reason}; give a folder with a model_index.json"
        ) from error


def _check_captions(prompts: list[str]) -> None:
    from ecad_dsl.reference import captions

    for prompt in prompts:
        captions.read(prompt)


def _draw(
    pipe: Any, prompts: list[str], opened: OpenSchedule | None, steps: int | None, guidance: float | None, seed: int
) -> list[Any]:
    import torch

    from ecad_dsl.cli.console import check_step_count
    from ecad_dsl.runtime import apply, inspect

    options: dict[str, Any] = {"generator": [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]}
    if guidance is not None:
        options["guidance_scale"] = guidance
    if opened is None:
        if steps is not None:
            check_step_count(pipe, steps)
            options["num_inference_steps"] = steps
        return list(pipe(prompts, **options).images)
    schedule = opened.on(inspect(pipe), steps)
    check_step_count(pipe, schedule.steps)
    with apply(pipe, schedule):
        return list(pipe(prompts, num_inference_steps=schedule.steps, **options).images)
