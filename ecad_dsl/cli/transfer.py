"""``ecad transfer``: schedules at other numbers of steps, sizes and guidance, on other models than they were found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecad_dsl.cli.compare import MetricOption, MetricWeightsOption, PromptFileOption, records, reference_bed
from ecad_dsl.cli.compare_model import Bed, Judge, drawn_with, pipeline_bed
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

    from ecad_dsl.language import Program
    from ecad_dsl.models import ModelSpec
    from ecad_dsl.quality.measure import Entry, Measured


@dataclass(frozen=True)
class Setting:
    """What pictures are drawn with; the model's own size and guidance where None."""

    steps: int
    size: int | None
    guidance: float | None

    def __str__(self) -> str:
        parts = [f"{self.steps} steps"]
        parts += [] if self.size is None else [f"{self.size} px"]
        parts += [] if self.guidance is None else [f"guidance {self.guidance:g}"]
        return ", ".join(parts)

    @property
    def options(self) -> dict[str, float]:
        """Of the pipeline's call, but for the steps."""
        given = {"height": self.size, "width": self.size, "guidance_scale": self.guidance}
        return {name: value for name, value in given.items() if value is not None}


REFERENCE_SIZE, REFERENCE_GUIDANCE = "256", "3"


def register(app: typer.Typer) -> None:
    app.command()(transfer)


@interruptible(BEGINS_ANEW)
def transfer(
    files: ScheduleFiles,
    steps: Annotated[
        str, typer.Option("--steps", "-s", help="Numbers of steps, such as 12,20,30; programs are rewritten for each.")
    ] = "12,16,20,30",
    sizes: Annotated[
        str | None, typer.Option(help="Widths and heights in pixels, such as 256,384; the model's own if not given.")
    ] = None,
    guidance: Annotated[
        str | None, typer.Option(help="Guidance scales, such as 2,3,5; the model's own if not given.")
    ] = None,
    home: Annotated[
        str | None, typer.Option(help="The setting that they were found at, as the table calls it; marked in it.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=2, max=10_000, help="Held-out prompts.")] = 64,
    seed: SeedOption = 0,
    model: ModelSource = "reference",
    metric: MetricOption = "image-reward",
    weights: MetricWeightsOption = None,
    prompt_file: PromptFileOption = None,
    batch: Annotated[int, typer.Option(min=1, help="With --model: pictures drawn together.")] = 4,
    embeddings: EmbeddingsOption = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    offload: OffloadOption = "none",
    quantize: QuantizeOption = "none",
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Measure programs where they were not found, against the baselines made for there.

    On the reference model; with --model on another, such as a variant of the one that they were found on, by its
    pictures for --prompt-file and a metric. Every combination of steps, sizes and guidance is a setting.
    """
    from ecad_dsl.analysis.transfer import transfer_table
    from ecad_dsl.files import write_text

    programs = {file: read(file) for file in files}
    if csv is not None:
        check_writable(csv)
    if model == "reference":
        sizes, guidance = sizes or REFERENCE_SIZE, guidance or REFERENCE_GUIDANCE
        settings = list(_settings(steps, sizes, guidance))
        bed = _reference(settings, prompts, seed)
    else:
        settings = list(_settings(steps, sizes, guidance))
        loading = loading_of(model, revision, dtype, device, offload, quantize)
        judge = Judge(metric, weights, embeddings, {}, batch)
        bed = pipeline_bed(loading, judge, prompt_file, prompts, settings[0].steps, seed, timed=False)
    if home is not None and home not in map(str, settings):
        raise EcadError(f"--home is one of the settings: {'; '.join(map(str, settings))}; not {home!r}")
    for size in dict.fromkeys(setting.size for setting in settings):
        _check_size(bed.spec, size)
    entries = {setting: _entries(programs, bed.spec, setting) for setting in settings}
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=sum(map(len, entries.values())))

        def advance(_: str) -> None:
            bar.update(task, advance=1)

        measured = {}
        for setting, found in entries.items():
            bar.update(task, description=str(setting))
            measured[str(setting)] = _measure(bed, setting, found, workers, advance)
    table = transfer_table(measured, home)
    if csv is not None:
        write_text(csv, table.to_csv(index=False))
    if json:
        print_json(records(table))
    else:
        _print(table)


def _reference(settings: Sequence[Setting], prompts: int, seed: int) -> Bed:
    from ecad_dsl.reference.pipeline import load_reference

    for setting in settings:
        if setting.size is not None and (setting.size < 32 or setting.size % 16):
            raise EcadError(f"--sizes are multiples of 16 from 32 up on the reference model, not {setting.size}")
    pipe = load_reference()
    for setting in settings:
        check_step_count(pipe, setting.steps)
    return reference_bed(pipe, prompts, seed)


def _check_size(spec: ModelSpec, size: int | None) -> None:
    """Refuse a size that the model cannot make, before any picture is drawn."""
    from ecad_dsl.schedule.cost import cost_table

    cost_table(spec, size, size)


def _settings(steps: str, sizes: str | None, guidance: str | None) -> Iterator[Setting]:
    for count in _numbers("--steps", steps):
        for size in _or_own("--sizes", sizes):
            for scale in _or_own("--guidance", guidance):
                if count != int(count) or count < 2:
                    raise EcadError(f"--steps are whole numbers from 2 up, not {count:g}")
                if size is not None and (size != int(size) or size < 1):
                    raise EcadError(f"--sizes are whole numbers of pixels, not {size:g}")
                yield Setting(int(count), None if size is None else int(size), scale)


def _or_own(option: str, text: str | None) -> Sequence[float | None]:
    return [None] if text is None else _numbers(option, text)


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
    bed: Bed, setting: Setting, entries: Sequence[Entry], workers: int | None, on_done: Callable[[str], None]
) -> list[Measured]:
    from ecad_dsl.quality.measure import measure
    from ecad_dsl.workers import cpu_count

    workers = workers or bed.workers or cpu_count()
    return measure(drawn_with(bed, setting.options), entries, on_done=on_done, workers=workers)


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
