"""``ecad transfer``: schedules at other numbers of steps, sizes and guidance than they were found at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecad_dsl.cli.compare import records
from ecad_dsl.cli.console import (
    BEGINS_ANEW,
    JsonOption,
    ScheduleFiles,
    SeedOption,
    WorkersOption,
    check_step_count,
    check_writable,
    interruptible,
    print_json,
    print_table,
    progress_bar,
    read,
    unused_name,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.language import Program
    from ecad_dsl.models import ModelSpec
    from ecad_dsl.quality.measure import Entry, Measured
    from ecad_dsl.reference.pipeline import ReferencePipeline


@dataclass(frozen=True)
class Setting:
    """What pictures are drawn with."""

    steps: int
    size: int
    guidance: float

    def __str__(self) -> str:
        return f"{self.steps} steps, {self.size} px, guidance {self.guidance:g}"


def register(app: typer.Typer) -> None:
    app.command()(transfer)


@interruptible(BEGINS_ANEW)
def transfer(
    files: ScheduleFiles,
    steps: Annotated[
        str, typer.Option("--steps", "-s", help="Numbers of steps, such as 12,20,30; programs are rewritten for each.")
    ] = "12,16,20,30",
    sizes: Annotated[str, typer.Option(help="Widths and heights in pixels, such as 256,384.")] = "256",
    guidance: Annotated[str, typer.Option(help="Guidance scales, such as 2,3,5.")] = "3",
    prompts: Annotated[int, typer.Option(min=2, max=10_000, help="Held-out prompts.")] = 64,
    seed: SeedOption = 0,
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Measure programs where they were not found, on the reference model, against the baselines made for there.

    Every combination of steps, sizes and guidance is a setting. Other models: `ecad retarget`, then `ecad compare`, or
    `transfer_table` in Python.
    """
    from ecad_dsl.analysis.transfer import transfer_table
    from ecad_dsl.files import write_text
    from ecad_dsl.reference.pipeline import load_reference
    from ecad_dsl.runtime import inspect

    programs = {file: read(file) for file in files}
    if csv is not None:
        check_writable(csv)
    settings = list(_settings(steps, sizes, guidance))
    pipe = load_reference()
    spec = inspect(pipe)
    for setting in settings:
        check_step_count(pipe, setting.steps)
    entries = {setting: _entries(programs, spec, setting) for setting in settings}
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=sum(map(len, entries.values())))

        def advance(_: str) -> None:
            bar.update(task, advance=1)

        measured = {}
        for setting, found in entries.items():
            bar.update(task, description=str(setting))
            measured[str(setting)] = _measure(pipe, setting, found, prompts, seed, workers, advance)
    table = transfer_table(measured)
    if csv is not None:
        write_text(csv, table.to_csv(index=False))
    if json:
        print_json(records(table))
    else:
        _print(table)


def _settings(steps: str, sizes: str, guidance: str) -> Iterator[Setting]:
    for count in _numbers("--steps", steps):
        for size in _numbers("--sizes", sizes):
            for scale in _numbers("--guidance", guidance):
                if count != int(count) or count < 2:
                    raise EcadError(f"--steps are whole numbers from 2 up, not {count:g}")
                if size != int(size) or size < 32 or size % 16:
                    raise EcadError(f"--sizes are multiples of 16 from 32 up, not {size:g}")
                yield Setting(int(count), int(size), scale)


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [nan]
    if not all(map(isfinite, numbers)):
        raise EcadError(f"{option} takes numbers with commas between them, not {text!r}")
    return list(dict.fromkeys(numbers))


def _entries(programs: dict[str, Program], spec: ModelSpec, setting: Setting) -> list[Entry]:
    """The baselines at this number of steps, and the programs rewritten for it."""
    from ecad_dsl.analysis.baselines import baselines
    from ecad_dsl.models import load_spec
    from ecad_dsl.quality.measure import Entry
    from ecad_dsl.schedule import compile
    from ecad_dsl.schedule.retarget import retarget

    entries = baselines(spec, setting.steps)
    for file, program in programs.items():
        source = load_spec(program.model) if program.model else spec
        # A portable program that names no steps means the same at any number.
        moved = retarget(program, source, spec, program.steps, setting.steps)[0] if program.steps else program
        name = unused_name(Path(file).stem, {entry.name for entry in entries})
        entries.append(Entry(name, "evolved", compile(moved, spec, setting.steps)))
    return entries


def _measure(
    pipe: ReferencePipeline,
    setting: Setting,
    entries: Sequence[Entry],
    prompts: int,
    seed: int,
    workers: int | None,
    on_done: Callable[[str], None],
) -> list[Measured]:
    from ecad_dsl.quality.measure import measure, reference_sampler
    from ecad_dsl.quality.prompts import held_out
    from ecad_dsl.workers import cpu_count

    sampler = reference_sampler(pipe, held_out(prompts, seed))
    drawn = {"height": setting.size, "width": setting.size, "guidance_scale": setting.guidance}
    placed = replace(sampler, options={**sampler.options, **drawn})
    return measure(placed, entries, on_done=on_done, workers=workers or cpu_count())


def _print(table: pd.DataFrame) -> None:
    """A line for each schedule and family of baselines; nothing is said of families that are dearer at the least."""
    from rich.markup import escape

    for setting, lines in table[table["gain"].notna()].groupby("setting", sort=False):
        first = lines.iloc[0]
        print_table(
            f"{setting}: no cache has {first['no_cache']:+.3f} on {first['prompts']} held-out prompts",
            ("schedule", "MACs", "reward", "kept", "over, at its cost", "gain", "95 % interval"),
            [
                (escape(line["schedule"]), f"{line['macs_share']:.1%}", f"{line['reward']:+.3f}", f"{line['kept']:.0%}",
                 line["over"], f"{line['gain']:+.3f}", f"{line['gain_low']:+.2f} to {line['gain_high']:+.2f}")
                for _, line in lines.iterrows()
            ],
        )  # fmt: skip
