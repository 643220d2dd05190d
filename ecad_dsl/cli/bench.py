"""``ecad bench``: how fast a model is under schedules, beside what their MACs promise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ecad_dsl.cli.console import (
    BEGINS_ANEW,
    Dtype,
    JsonOption,
    ScheduleFiles,
    StepsOption,
    check_writable,
    console,
    echo,
    interruptible,
    name_of,
    open_schedule,
    print_json,
    print_table,
    progress_bar,
    to_json,
    unused_name,
)
from ecad_dsl.cli.loading import spec_named
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from ecad_dsl.cli.console import OpenSchedule
    from ecad_dsl.models import ModelSpec
    from ecad_dsl.schedule import Schedule


def register(app: typer.Typer) -> None:
    app.command()(bench)


_MASKS_OF_ANOTHER_SIZE = (
    "`ecad decompile` makes a program of masks, and `ecad retarget` rewrites that for another model"
)


def bench(
    files: ScheduleFiles = (),  # type: ignore[assignment] # a list, which must not be a default
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Name, .toml file or pipeline's folder; else what the first file names."),
    ] = None,
    steps: StepsOption = None,
    height: Annotated[int | None, typer.Option(min=1, max=65536, help="Pixels; the model's own if not given.")] = None,
    width: Annotated[int | None, typer.Option(min=1, max=65536, help="Pixels; the model's own if not given.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in one forward pass.")] = 1,
    blocks: Annotated[int | None, typer.Option(min=1, help="A model of fewer blocks; programs are rewritten.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="A narrower model, of so many attention heads.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; cuda if there is one.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Default: bfloat16 on cuda, float32 elsewhere.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the blocks with torch.compile.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of paired timing.")] = 5,
    plan: Annotated[
        str | None, typer.Option("--plan", "-p", help="A plan: a .toml file, or the name of one that ships.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for a key of the plan. Repeat."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Also write the figures as JSON; with --plan, the folder of its work.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time a model's denoising loop under schedules: latency, memory, and the share of the promised speed-up.

    The transformer has random weights (time does not depend on them), but for the reference model, and full size
    unless --blocks or --heads make it smaller: PixArt takes 2.3 GiB for its weights in float32, FLUX.1-dev 22 GiB in
    bfloat16.

    With --plan a whole table like a paper's: a pipeline with its weights, and for each schedule TMACs, ms an image and
    the metrics that the plan names. FILEs are further rows. Interrupted, it goes on where it was; docs/bench.md.
    """
    if plan is not None:
        from ecad_dsl.cli.plan import bench_plan

        given = {"model": model, "steps": steps, "device": device, "dtype": dtype}
        own = [f"{key}={value}" for key, value in given.items() if value is not None]
        bench_plan(plan, output or Path(f"{Path(plan).stem}-bench"), [*own, *(setting or ())], files, json=json)
        return
    if setting:
        raise EcadError("--set changes a plan; name one: --plan FILE")
    if not files:
        raise EcadError("name the schedules to be timed, or a plan: --plan FILE")
    from ecad_dsl.files import write_text
    from ecad_dsl.quality.bench import ALL_RECOMPUTE, NONE, compile_blocks, machine, scaled, weight_bytes
    from ecad_dsl.schedule.cost import cost_table

    opened = [open_schedule(file) for file in files]
    if output is not None:
        check_writable(output)
    spec = spec_named(model or _named_model(opened[0]) or "reference")
    target = scaled(spec, blocks, heads)
    schedules: dict[str, Schedule] = {}
    for source in opened:
        name = unused_name(Path(name_of(source.file)).stem, (NONE, ALL_RECOMPUTE, *schedules))
        schedules[name] = _compiled(source, spec, target, steps)
    cost_table(target, height, width)  # refuses a size that the model cannot make
    place = _device(device)
    transformer = _transformer(target, place, dtype, full_size=target == spec)
    if compile:
        compile_blocks(transformer, target)
    result = _measured(transformer, schedules, height, width, batch, rounds)
    weight = next(transformer.parameters())
    report: dict[str, Any] = {
        "model": spec.name,
        "blocks": target.blocks,
        "parameters": sum(parameter.numel() for parameter in transformer.parameters()),
        "weight_bytes": weight_bytes(transformer),
        "height": height or spec.inputs["height"],
        "width": width or spec.inputs["width"],
        "batch": batch,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "compiled": compile,
        "rounds": rounds,
        **machine(place),
        "schedules": result.to_dict("records"),
    }
    if output is not None:
        write_text(output, to_json(report) + "\n")
    if json:
        print_json(report)
    else:
        _print(report, result)


def _named_model(source: OpenSchedule) -> str | None:
    """The model that a file names; None for a portable program."""
    from ecad_dsl.language import Program

    return source.content.model if isinstance(source.content, Program) else source.on().spec.name


def _compiled(source: OpenSchedule, spec: ModelSpec, target: ModelSpec, steps: int | None) -> Schedule:
    """The schedule in a file on the target: the spec itself, or a smaller model of its class."""
    from ecad_dsl.language import Program
    from ecad_dsl.schedule import compile
    from ecad_dsl.schedule.retarget import retarget

    program = source.content
    try:
        schedule = source.on(spec, steps)
    except EcadError as error:
        if not isinstance(program, Program):
            raise EcadError(f"{error}; {_MASKS_OF_ANOTHER_SIZE}") from error
        if program.model in (None, spec.name):
            raise
        raise EcadError(
            f"{source.file} is for {program.model} and does not fit {spec.name};"
            f" rewrite it: ecad retarget {source.file} --to {spec.name}"
        ) from error
    if not isinstance(program, Program) and target != spec:
        raise EcadError(f"{source.file} holds masks of the full size; {_MASKS_OF_ANOTHER_SIZE}")
    if not isinstance(program, Program) or target == spec:
        return schedule
    return compile(retarget(program, spec, target, schedule.steps)[0], target, schedule.steps)


def _device(name: str | None) -> torch.device:
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EcadError(f"cannot use the device {name!r}: {reason}; --device cpu is always there") from error
    return device


def _transformer(target: ModelSpec, device: torch.device, dtype: Dtype | None, full_size: bool) -> nn.Module:
    """With the weights that ship for the reference model, else with random ones."""
    import torch
    from torch import nn

    from ecad_dsl.quality.bench import random_transformer

    dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
    torch_dtype: torch.dtype = getattr(torch, dtype)
    if target.name != "reference" or not full_size:
        return random_transformer(target, device, torch_dtype)
    from ecad_dsl.reference.pipeline import load_reference

    shipped: nn.Module = load_reference().transformer
    return nn.Module.to(shipped, device, torch_dtype)  # diffusers' own `to` warns of parts that it does not have


@interruptible(BEGINS_ANEW)
def _measured(
    transformer: nn.Module,
    schedules: Mapping[str, Schedule],
    height: int | None,
    width: int | None,
    batch: int,
    rounds: int,
) -> pd.DataFrame:
    """The table, with a progress bar while it is made."""
    import torch

    from ecad_dsl.quality.bench import bench

    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(schedules) + 2 + rounds)

        def advance(done: str) -> None:
            bar.update(task, advance=1, description=escape(done))

        try:
            return bench(
                transformer, schedules, height=height, width=width, batch=batch, rounds=rounds, on_round=advance
            )
        except torch.OutOfMemoryError as error:
            raise EcadError(
                "the device has not enough memory; take smaller pictures, a smaller --batch, or fewer"
                " --blocks or --heads"
            ) from error


def _print(report: Mapping[str, Any], result: pd.DataFrame) -> None:
    lines = [
        (
            escape(line["name"]),
            f"{line['ms_per_image']:.1f}",
            f"{line['ms_per_step']:.1f}",
            f"{line['speedup']:.2f}x",
            f"{line['speedup_low']:.2f}-{line['speedup_high']:.2f}",
            f"{line['of_macs']:.0%}",
            f"{line['of_macs_full']:.0%}",
            f"{line['peak_bytes'] / 2**20:.0f}",
        )
        for _, line in result.iterrows()
    ]
    size = f"{report['width']} x {report['height']}, batch {report['batch']}, {report['dtype']}"
    title = f"{report['model']}, {report['parameters'] / 1e6:,.0f} M parameters, {size} on {report['device_name']}"
    print_table(escape(title), ("schedule", "ms", "step", "speed-up", "95 %", "of MACs", "of full", "MiB"), lines)
    console().print(
        "[dim]ms: an image, step: of the whole batch, medians. speed-up: median of paired runs. of MACs, of full: share"
        " of the speed-up that the MACs promise, without and with the products of attention. MiB: peak beyond the"
        f" {report['weight_bytes'] / 2**20:,.0f} of the weights.[/]"
    )
    overhead = 1 / float(result["speedup"].iloc[1]) - 1
    echo(f"overhead of running under a schedule: {overhead:+.1%}")
