"""``ecad compare``: schedules against the baselines, on held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecad_dsl.cli.console import (
    JsonOption,
    ScheduleFiles,
    SeedOption,
    WorkersOption,
    check_picture,
    check_step_count,
    check_writable,
    console,
    open_schedule,
    print_json,
    print_table,
    progress_bar,
    unused_name,
)

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.quality.measure import Entry, Measured
    from ecad_dsl.reference.pipeline import ReferencePipeline


def register(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    files: ScheduleFiles,
    steps: Annotated[
        int, typer.Option("--steps", "-s", min=2, max=1000, help="Steps of portable programs and baselines.")
    ] = 20,
    prompts: Annotated[int, typer.Option(min=2, max=10_000, help="Held-out prompts.")] = 64,
    seed: SeedOption = 0,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of paired timing; 0: no timing.")] = 5,
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw reward against MACs as .png, .svg or .pdf.")] = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Measure schedules and baselines on the reference model: reward, MACs and time, with intervals."""
    from ecad_dsl.analysis.baselines import baselines
    from ecad_dsl.analysis.compare import table
    from ecad_dsl.files import write_text
    from ecad_dsl.quality.measure import Entry
    from ecad_dsl.reference.pipeline import load_reference
    from ecad_dsl.runtime import inspect

    check_picture(plot)
    opened = {file: open_schedule(file) for file in files}
    for path in (csv, plot):
        if path is not None:
            check_writable(path)
    pipe = load_reference()
    spec = inspect(pipe)
    entries = baselines(spec, steps)
    for file, source in opened.items():
        schedule = source.on(spec, default_steps=steps)
        check_step_count(pipe, schedule.steps)
        entries.append(Entry(unused_name(Path(file).stem, {entry.name for entry in entries}), "evolved", schedule))
    measured = measure_all(pipe, entries, prompts, seed, rounds, workers)
    result = table(measured)
    if csv is not None:
        write_text(csv, result.to_csv(index=False))
    if plot is not None:
        from ecad_dsl.analysis import figures

        figures.save(figures.pareto(result, f"{prompts} held-out prompts"), plot)
    if json:
        print_json(result.to_dict("records"))
    else:
        print_comparison(result, f"{prompts} held-out prompts of the reference model")


def measure_all(
    pipe: ReferencePipeline,
    entries: Sequence[Entry],
    prompts: int,
    seed: int,
    rounds: int,
    workers: int | None,
) -> list[Measured]:
    """Every entry on held-out prompts, with a progress bar; timed in batches of 4 pictures."""
    from rich.markup import escape

    from ecad_dsl.quality.measure import measure, reference_sampler
    from ecad_dsl.quality.prompts import held_out
    from ecad_dsl.workers import cpu_count

    sampler = reference_sampler(pipe, held_out(prompts, seed))
    timer = reference_sampler(pipe, held_out(4, seed), batch=4) if rounds else None
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(entries) + rounds)

        def advance(name: str) -> None:
            bar.update(task, advance=1, description=f"measuring {escape(name)}")

        return measure(sampler, entries, timer, rounds, on_done=advance, workers=workers or cpu_count())


def print_comparison(result: pd.DataFrame, title: str) -> None:
    """The comparison table in the terminal."""
    from rich.markup import escape

    lines = []
    for _, line in result.sort_values("macs").iterrows():
        mark = ("[bold]", "[/]") if line["group"] == "evolved" else ("", "")
        cells = (
            escape(line["name"]),
            f"{line['steps']}",
            f"{line['macs_share']:.1%}",
            f"{line['reward']:+.3f}",
            f"{line['reward_low']:+.2f} to {line['reward_high']:+.2f}",
            "" if isnan(line["ms_per_image"]) else f"{line['ms_per_image']:.1f}",
            "" if isnan(line["speedup"]) else f"{line['speedup']:.2f}x",
            f"{line['macs_speedup']:.2f}x",
        )
        lines.append(tuple(f"{mark[0]}{cell}{mark[1]}" for cell in cells))
    columns = ("schedule", "steps", "MACs", "reward", "95 % interval", "ms", "time", "promise")
    print_table(title, columns, lines)
    console().print("[dim]ms: per image. time: measured speed-up, median of paired runs. promise: by MACs.[/]")
