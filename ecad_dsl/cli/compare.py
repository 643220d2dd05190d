"""``ecad compare``: schedules against the baselines, on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.compare_model import Bed, Judge, pipeline_bed
from ecad_dsl.cli.console import (
    BEGINS_ANEW,
    JsonOption,
    SeedOption,
    WorkersOption,
    check_picture,
    check_step_count,
    check_writable,
    console,
    echo,
    interruptible,
    open_schedule,
    print_json,
    print_table,
    progress_bar,
    unused_name,
    writable_folder,
)
from ecad_dsl.cli.loading import (
    DeviceOption,
    DtypeOption,
    EmbeddingsOption,
    ModelSource,
    OffloadOption,
    QuantizeOption,
    RevisionOption,
    loading_of,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.cli.console import OpenSchedule
    from ecad_dsl.quality.measure import Entry, Measured
    from ecad_dsl.reference.pipeline import ReferencePipeline


MetricOption = Annotated[str, typer.Option(help="The reward of a model's pictures: image-reward, clip.")]
MetricWeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Of the metric: a file, a folder or a name on the hub.")
]
PromptFileOption = Annotated[
    Path | None, typer.Option(help="With --model: file of the held-out prompts (`ecad prompts` reads it).")
]


def register(app: typer.Typer) -> None:
    app.command()(compare)


@interruptible(BEGINS_ANEW)
def compare(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|RUN...",
            help="Schedules by file or name; or folders of runs, each with its front as a family of its own.",
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline", "-b", help="One more baseline, by file or name: what `ecad smoothcache` writes, say."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", "-s", min=2, max=1000, help="Steps of portable programs and baselines.")
    ] = 20,
    prompts: Annotated[int, typer.Option(min=2, max=10_000, help="Held-out prompts.")] = 64,
    seed: SeedOption = 0,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of paired timing; 0: no timing.")] = 5,
    model: ModelSource = "reference",
    metric: MetricOption = "image-reward",
    weights: MetricWeightsOption = None,
    prompt_file: PromptFileOption = None,
    height: Annotated[int | None, typer.Option(min=1, help="Pixels; the model's own if not given.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Pixels; the model's own if not given.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="With --model: pictures drawn together, and timed together.")] = 4,
    embeddings: EmbeddingsOption = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    offload: OffloadOption = "none",
    quantize: QuantizeOption = "none",
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    tables: Annotated[
        Path | None, typer.Option(help="Folder for all tables as CSV, with the reward of every prompt.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw reward against MACs as .png, .svg or .pdf.")] = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Measure schedules and baselines, and say what the schedules gain over each.

    On the reference model and its reward; with --model on a pipeline, its pictures for --prompt-file and a metric.

    Gains are at equal cost and at equal quality, with intervals; what each figure means is in docs/analysis.md.
    """
    from ecad_dsl.analysis.comparison import compared, rewards
    from ecad_dsl.files import write_text

    check_picture(plot)
    opened = [("evolved", family, open_schedule(file)) for family, file in _files(files)]
    opened += [("baseline", "", open_schedule(file)) for file in more or ()]
    for path in (csv, plot):
        if path is not None:
            check_writable(path)
    if tables is not None:
        writable_folder(tables)
    if model == "reference":
        from ecad_dsl.reference.pipeline import load_reference

        bed = reference_bed(load_reference(), prompts, seed)
    else:
        size = {name: value for name, value in (("height", height), ("width", width)) if value is not None}
        loading = loading_of(model, revision, dtype, device, offload, quantize)
        judge = Judge(metric, weights, embeddings, size, batch)
        bed = pipeline_bed(loading, judge, prompt_file, prompts, steps, seed, timed=rounds > 0)
    measured = _measure(bed, opened, steps, rounds, workers)
    found = compared(measured)
    if csv is not None:
        write_text(csv, found["table"].to_csv(index=False))
    if tables is not None:
        _write_tables({**found, "rewards": rewards(measured, bed.prompts)}, tables)
    if plot is not None:
        from ecad_dsl.analysis import figures

        figures.save(figures.pareto(found["table"], f"{len(bed.prompts)} held-out prompts"), plot)
    if json:
        print_json({name: records(table) for name, table in found.items()})
    else:
        print_comparison(found["table"], bed.title)
        _print_claims(found)


def _write_tables(found: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """As CSV. What has no columns, such as a table over several runs where there is one, has no file."""
    from ecad_dsl.files import write_text

    for name, table in found.items():
        file = folder / f"{name}.csv"
        file.unlink(missing_ok=True)
        if len(table.columns):
            write_text(file, table.to_csv(index=name == "wins"))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON. What has no figure is null: NaN, and what is saved at a reward that is never reached."""
    from math import inf, nan

    named = table.reset_index() if table.index.name else table
    return [
        {str(name): value for name, value in row.items()} for row in named.replace([inf, -inf], nan).to_dict("records")
    ]


def _files(files: Sequence[str]) -> list[tuple[str, str]]:
    """Families and files; a run's are those of its front.

    Raises:
        EcadError: a run has no front yet.
    """
    found = []
    last = [Path(file).resolve().name for file in files]
    for file, name in zip(files, last, strict=True):
        if not (Path(file) / "run.sqlite").is_file():
            found.append(("evolved", file))
            continue
        front = sorted((Path(file) / "front").glob("*.ecad"))
        if not front:
            raise EcadError(f"the run in {file} has no front yet; go on with it: ecad evolve --resume {file}")
        found += [(name if last.count(name) == 1 else file, str(schedule)) for schedule in front]
    return found


def reference_bed(pipe: ReferencePipeline, prompts: int, seed: int) -> Bed:
    """The reference model with so many of its held-out prompts."""
    from ecad_dsl.quality.measure import reference_sampler
    from ecad_dsl.quality.prompts import held_out
    from ecad_dsl.runtime import inspect

    chosen = held_out(prompts, seed)
    timer = reference_sampler(pipe, held_out(4, seed), batch=4)
    title = f"{prompts} held-out prompts of the reference model"
    return Bed(inspect(pipe), chosen, reference_sampler(pipe, chosen), timer, title)


def _measure(
    bed: Bed, opened: Sequence[tuple[str, str, OpenSchedule]], steps: int, rounds: int, workers: int | None
) -> list[Measured]:
    """The baselines, then the schedules that were opened, each under a name of its own."""
    from ecad_dsl.analysis.baselines import baselines
    from ecad_dsl.quality.measure import Entry

    entries = baselines(bed.spec, steps)
    for group, family, source in opened:
        schedule = source.on(bed.spec, default_steps=steps)
        if bed.timer is not None:
            check_step_count(bed.timer.pipe, schedule.steps)
        name = unused_name(Path(source.file).stem, {entry.name for entry in entries})
        entries.append(Entry(name, group, schedule, family or _family(source, name)))
    return measure_on(bed, entries, rounds, workers)


def _family(source: OpenSchedule, name: str) -> str:
    """What the program says that it belongs to; else it is a family of its own."""
    return str(getattr(source.content, "meta", {}).get("family", name))


def measure_all(
    pipe: ReferencePipeline,
    entries: Sequence[Entry],
    prompts: int,
    seed: int,
    rounds: int,
    workers: int | None,
) -> list[Measured]:
    """Every entry on held-out prompts of the reference model, with a progress bar; timed in batches of 4 pictures."""
    return measure_on(reference_bed(pipe, prompts, seed), entries, rounds, workers)


def measure_on(bed: Bed, entries: Sequence[Entry], rounds: int, workers: int | None) -> list[Measured]:
    """Every entry, with a progress bar."""
    from rich.markup import escape

    from ecad_dsl.quality.measure import measure
    from ecad_dsl.workers import cpu_count

    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(entries) + rounds)

        def advance(name: str) -> None:
            bar.update(task, advance=1, description=f"measuring {escape(name)}")

        timer = bed.timer if rounds else None
        workers = workers or bed.workers or cpu_count()
        return measure(bed.sampler, entries, timer, rounds, on_done=advance, workers=workers)


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


def _print_claims(found: Mapping[str, pd.DataFrame]) -> None:
    """What is gained, over whom; then the strongest rivals once more, in sentences."""
    from rich.markup import escape

    from ecad_dsl.analysis.claims import claim

    for ours, lines in found["claims"].groupby("ours", sort=False):
        print_table(
            f"What {escape(str(ours))} gains at equal cost, and saves at equal reward (95 % intervals)",
            ("over", "MACs", "reward", "interval", "wins", "saves", "interval"),
            [_claim_cells(line) for _, line in lines.sort_values("macs").iterrows()],
        )
    if len(found["runs"]):
        print_table(
            "Over all runs",
            ("over", "MACs", "runs", "mean gain", "worst", "best", "ahead", "surely"),
            [
                (escape(line["rival"]), f"{line['macs_share']:.1%}", f"{line['runs']}", f"{line['gain']:+.3f}",
                 f"{line['worst']:+.3f}", f"{line['best']:+.3f}", f"{line['ahead']}", f"{line['surely']}")
                for _, line in found["runs"].iterrows()
            ],
        )  # fmt: skip
    hypervolumes = found["hypervolumes"]
    worst = hypervolumes["worst_reward"].iloc[0]
    print_table(
        f"Hypervolume: reward above {worst:.3f} times share of the MACs saved",
        ("family", "schedules", "hypervolume", "95 % interval"),
        [
            (escape(line["family"]), f"{line['schedules']}", f"{line['hypervolume']:.3f}",
             f"{line['low']:.3f} to {line['high']:.3f}")
            for _, line in hypervolumes.iterrows()
        ],
    )  # fmt: skip
    free = found["dominated"].query("dominated_by == ''")["name"]
    echo(f"\nnot dominated by anything here: {', '.join(free)}\n")
    for _, line in found["claims"][found["claims"]["rival"].isin(_strongest(found))].iterrows():
        echo(claim(line))


def _strongest(found: Mapping[str, pd.DataFrame]) -> set[str]:
    """The rivals that no other rival beats."""
    from ecad_dsl.analysis.pareto import front

    table = found["table"]
    return set(front(table[table["group"] != "evolved"])["name"])


def _claim_cells(line: pd.Series[Any]) -> tuple[str, ...]:
    from rich.markup import escape

    missing = isnan(line["gain"])
    low, high = _saving(line["saved_low"]), _saving(line["saved_high"])
    return (
        escape(line["rival"]),
        f"{line['macs_share']:.1%}",
        "" if missing else f"{line['gain']:+.3f}",
        "dearer" if missing else f"{line['gain_low']:+.2f} to {line['gain_high']:+.2f}",
        "" if missing else f"{line['wins']:.0%}",
        _saving(line["saved"]),
        low if low == high else f"{low} to {high}",
    )


def _saving(share: float) -> str:
    """A share of the MACs; minus infinity stands for a reward that is never reached."""
    return "never" if share == -float("inf") else f"{share:.0%}"
