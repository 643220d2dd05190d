"""``ecad generate``: pictures under a schedule, one or thirty thousand; ``ecad picture``: what one says of itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.console import (
    GOES_ON,
    JsonOption,
    check_writable,
    echo,
    echo_err,
    interruptible,
    open_schedule,
    print_json,
    progress_bar,
)
from ecad_dsl.cli.loading import (
    SUFFIXES,
    CountOption,
    DeviceOption,
    DtypeOption,
    EmbeddingsOption,
    OffloadOption,
    PromptArguments,
    QuantizeOption,
    RevisionOption,
    ShardOption,
    SubsetSeedOption,
    gather_prompts,
    loading_of,
    share,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.cli.console import OpenSchedule
    from ecad_dsl.pipelines.load import Loading
    from ecad_dsl.pipelines.pictures import Drawer, Task
    from ecad_dsl.schedule import Schedule

NAMED = 20
"""So many pictures are named one by one; of more, the folder alone is."""
ON_SHEET = 100
"""Pictures on a contact sheet, at most."""


def register(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(picture)


@interruptible(f"every finished picture is kept, and {GOES_ON}")
def generate(
    prompts: PromptArguments,
    schedule: Annotated[str | None, typer.Option("--schedule", "-c", help="Its file; none: no caching.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            "--pipeline",
            "-p",
            help="A model's name (`ecad models list`), a pipeline's folder, or owner/name on the hub.",
        ),
    ] = "reference",
    steps: Annotated[int | None, typer.Option("--steps", "-s", min=1, help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; the model's own if not given.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Pixels; the model's own if not given.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Pixels; the model's own if not given.")] = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="Pictures of each prompt.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="Seed of the first picture's noise; the next ones count up.")
    ] = 0,
    count: CountOption = None,
    subset_seed: SubsetSeedOption = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures drawn at once.")] = 8,
    shard: ShardOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, each with a pipeline of its own. Default: one a GPU.")
    ] = None,
    embeddings: EmbeddingsOption = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    offload: OffloadOption = "none",
    quantize: QuantizeOption = "none",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pictures of other settings.")] = False,
    sheet: Annotated[Path | None, typer.Option(help=f"Also put the first {ON_SHEET} on a contact sheet.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("pictures"),
) -> None:
    """Generate pictures, under a schedule if one is given.

    A picture depends on its prompt and its seed, not on the batch. What the folder holds already is passed over, so
    that the same command goes on after an interruption. `ecad picture FILE` tells how a picture was drawn.
    """
    from ecad_dsl.cli.console import writable_folder
    from ecad_dsl.pipelines.pictures import Drawer, draw_all, tasks_for

    opened = open_schedule(schedule) if schedule is not None else None
    if sheet is not None and sheet.suffix.lower() not in {".png", ".jpg"}:
        raise EcadError(f"contact sheets are written as .png or .jpg, not as {sheet.name!r}")
    gathered = gather_prompts(prompts, count, subset_seed)
    loading = loading_of(model, revision, dtype, device, offload, quantize)
    _check_prompts(model, gathered.prompts, embeddings)
    given = {"num_inference_steps": steps, "guidance_scale": guidance, "height": height, "width": width}
    options = {name: value for name, value in given.items() if value is not None}
    compiled = None if opened is None else _compiled(opened, loading, steps)
    drawer = Drawer(output, loading, compiled, _text(opened, compiled), options, embeddings)
    is_set = any(argument.lower().endswith(SUFFIXES) for argument in prompts)
    ids = gathered.ids if is_set else None
    tasks = share(tasks_for(gathered.prompts, ids, images=images, first_seed=seed), shard)
    left = drawer.open_tasks(tasks, overwrite=overwrite or not is_set)
    if sheet is not None:
        check_writable(sheet)
    existed = output.exists()
    folder = writable_folder(output)
    workers = workers or _gpus(loading)
    try:
        if left and workers == 1:
            _ = drawer.pipe  # loading is no part of the time
        start = time.perf_counter()
        with progress_bar() as bar:
            bar_task = bar.add_task("drawing", total=len(tasks), completed=len(tasks) - len(left))
            draw_all(
                drawer,
                left,
                batch=batch,
                workers=workers,
                on_done=lambda paths: bar.update(bar_task, advance=len(paths)),
            )
    except (EcadError, KeyboardInterrupt):
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
        raise
    _tell(drawer, tasks, len(left), time.perf_counter() - start)
    if sheet is not None:
        _write_sheet(sheet, [folder / task.name for task in tasks[:ON_SHEET]], images)


def _check_prompts(model: str, prompts: Sequence[str], embeddings: Path | None) -> None:
    """Refuse prompts that the reference model or the stored embeddings do not know, before anything is loaded."""
    if model == "reference":
        from ecad_dsl.reference import captions

        for prompt in prompts:
            captions.read(prompt)
    if embeddings is not None:
        from ecad_dsl.pipelines.embeddings import Embeddings

        Embeddings(embeddings).check(prompts)


def _compiled(opened: OpenSchedule, loading: Loading, steps: int | None) -> Schedule:
    """The schedule on the model, which is known before its weights are."""
    from ecad_dsl.pipelines.load import spec_of

    return opened.on(spec_of(loading), steps)


def _text(opened: OpenSchedule | None, compiled: Schedule | None) -> str | None:
    """The schedule as a program, for the pictures to tell."""
    from ecad_dsl.language import Program
    from ecad_dsl.schedule import format
    from ecad_dsl.schedule.decompile import decompile

    if opened is None or compiled is None:
        return None
    return format(opened.content if isinstance(opened.content, Program) else decompile(compiled))


def _gpus(loading: Loading) -> int:
    """One process a GPU, where no device is named."""
    import torch

    return max(1, torch.cuda.device_count()) if loading.device is None else 1


def _tell(drawer: Drawer, tasks: Sequence[Task], drawn: int, seconds: float) -> None:
    if len(tasks) <= NAMED:
        for task in tasks:
            echo(f"{drawer.folder / task.name}")
    else:
        echo(f"{len(tasks):,} pictures in {drawer.folder}")
    if drawn < len(tasks):
        echo(f"{len(tasks) - drawn:,} were there already")
    if drawn:
        echo(f"{seconds / drawn:.2f} s a picture")


def _write_sheet(sheet: Path, paths: Sequence[Path], images: int) -> None:
    from ecad_dsl.files import write_beside
    from ecad_dsl.pipelines.pictures import contact_sheet

    drawn = contact_sheet(paths, columns=images if images > 1 else min(len(paths), 10))
    write_beside(sheet, drawn.save)
    echo_err(f"written: {sheet}")


def picture(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture that `ecad generate` drew.")],
    schedule: Annotated[bool, typer.Option("--schedule", help="Print the schedule alone, as a program.")] = False,
    json: JsonOption = False,
) -> None:
    """Tell how a picture was drawn: prompt, seed, model, schedule, options, versions."""
    from ecad_dsl.pipelines.pictures import read_picture

    told = read_picture(file)
    if schedule:
        if told["schedule"] is None:
            raise EcadError(f"{file} was drawn without a schedule")
        echo(told["schedule"].removesuffix("\n"))
    elif json:
        print_json(told)
    else:
        for line in _lines(told):
            echo(line)


def _lines(told: dict[str, Any]) -> list[str]:
    listed = {**told, "options": told["options"].items(), "versions": told["versions"].items()}
    lines = []
    for name in (
        "prompt",
        "prompt_id",
        "seed",
        "model",
        "revision",
        "commit",
        "dtype",
        "quantize",
        "options",
        "versions",
    ):
        value = listed.get(name)
        if name in ("options", "versions"):
            value = ", ".join(f"{key} {inner}" for key, inner in listed[name])
        if value not in (None, "", "none"):
            lines.append(f"{name}: {value}")
    if told["schedule"] is not None:
        lines += ["schedule:", *(f"    {line}" for line in told["schedule"].splitlines())]
    return lines
