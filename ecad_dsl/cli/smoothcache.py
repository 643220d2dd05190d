"""``ecad smoothcache``: measure how little a model's outputs change from step to step, and write a schedule by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecad_dsl.cli.console import SeedOption, check_step_count, check_writable, echo, echo_err, progress_bar
from ecad_dsl.cli.loading import DeviceOption, DtypeOption, ModelSource, RevisionOption, loading_of
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.language import Program
    from ecad_dsl.quality.smoothcache import By, Changes
    from ecad_dsl.schedule import Schedule


def register(app: typer.Typer) -> None:
    app.command()(smoothcache)


def smoothcache(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROMPT...]", help="What to measure on, or files of prompts; the reference model has its own."
        ),
    ] = None,
    model: ModelSource = "reference",
    threshold: Annotated[
        float | None, typer.Option(min=0, help="Reuse while an output has changed by less than this share.")
    ] = None,
    macs: Annotated[
        float | None, typer.Option(min=0, max=1, help="Or: the lowest threshold with at most this share of the MACs.")
    ] = None,
    by: Annotated[
        Literal["component", "cell"], typer.Option(help="Decide for all blocks together, as the paper, or for each.")
    ] = "component",
    reach: Annotated[int, typer.Option(min=1, max=100, help="Reuse for so many steps at most.")] = 3,
    steps: Annotated[int, typer.Option("--steps", "-s", min=2, max=1000, help="Denoising steps.")] = 20,
    count: Annotated[int, typer.Option(min=1, help="Of the prompts, how many to measure on.")] = 16,
    batch: Annotated[int, typer.Option(min=1, help="Pictures drawn at a time.")] = 8,
    seed: SeedOption = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the schedule; else it is printed.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Also write every change that was measured, as CSV.")] = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
) -> None:
    """Make a schedule as SmoothCache does: measure a model once, reuse where little has changed (arXiv 2411.10510)."""
    from ecad_dsl.files import write_text
    from ecad_dsl.quality.smoothcache import measure_changes
    from ecad_dsl.schedule import format

    if (threshold is None) == (macs is None):
        raise EcadError("say how much is reused: --threshold 0.1, or --macs 0.35 for a share of the MACs")
    if not isfinite(threshold if threshold is not None else macs or 0):
        raise EcadError("--threshold and --macs are numbers, not nan or inf")
    for path in (output, table):
        if path is not None:
            check_writable(path)
    loading = loading_of(model, revision, dtype, device)
    chosen = _prompts(prompts, model, count, seed)
    pipe = loading.load()
    check_step_count(pipe, steps)
    with progress_bar() as bar:
        generations = list(_generations(pipe, chosen, steps, batch))
        task = bar.add_task("measuring changes", total=len(generations))

        def counted() -> Iterator[Callable[[], object]]:
            for generation in generations:
                yield generation
                bar.update(task, advance=1)

        changes = measure_changes(pipe, counted(), steps, min(reach, steps - 1))
    if table is not None:
        write_text(table, changes.frame.to_csv(index=False))
    text = format(_program(changes, threshold, macs, by, len(chosen)))
    if output is None:
        echo(text.removesuffix("\n"))
        return
    write_text(output, text)
    echo_err(f"written: {output}")


def _prompts(given: list[str] | None, model: str, count: int, seed: int) -> list[tuple[str, int]]:
    """Prompts, each with the seed of its noise."""
    if not given and model == "reference":
        from ecad_dsl.quality.prompts import calibration

        own = calibration(count, seed)
        return list(zip(own.prompts, own.seeds, strict=True))
    if not given:
        raise EcadError("say what to measure on: prompts, or a file of them")
    from ecad_dsl.cli.loading import gather_prompts

    texts = gather_prompts(given).prompts[:count]
    return [(text, seed + number) for number, text in enumerate(texts)]


def _generations(pipe: Any, prompts: list[tuple[str, int]], steps: int, batch: int) -> Iterator[Callable[[], object]]:
    """Nothing is decoded: changes are those of the transformer."""
    import torch

    from ecad_dsl.pipelines.load import call_defaults

    options = {**call_defaults(pipe), "num_inference_steps": steps, "output_type": "latent"}
    for start in range(0, len(prompts), batch):
        texts, seeds = zip(*prompts[start : start + batch], strict=True)
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        yield partial(pipe, list(texts), generator=noise, **options)


def _program(changes: Changes, threshold: float | None, macs: float | None, by: By, prompts: int) -> Program:
    """The schedule as rules, under a heading that says how it came about."""
    from ecad_dsl.language import Program
    from ecad_dsl.language.tree import Meta, Steps
    from ecad_dsl.schedule.decompile import decompile

    schedule: Schedule
    if macs is not None:
        threshold, schedule = changes.for_cost(macs, by)
    else:
        schedule = changes.schedule(threshold or 0, by)
    assert threshold is not None
    heading = (
        *_model(changes),
        Steps(schedule.steps),
        Meta("title", f"SmoothCache, threshold {threshold:.4g}"),
        Meta("source", "arXiv:2411.10510"),
        Meta("family", "SmoothCache"),
        Meta("threshold", threshold),
        Meta("reach", changes.reach),
        Meta("decided_by", by),
        Meta("measured_on_prompts", prompts),
    )
    return Program((*heading, *decompile(schedule).statements))


def _model(changes: Changes) -> list[Any]:
    """The line that names the model, where it is one that can be named."""
    from ecad_dsl.language.tree import Model
    from ecad_dsl.models import load_spec, spec_names

    name = changes.spec.name
    known = name in spec_names() and load_spec(name).is_family_of(changes.spec)
    return [Model(name)] if known else []
