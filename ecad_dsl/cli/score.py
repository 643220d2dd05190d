"""``ecad score`` and ``ecad metrics``: how good the pictures in folders are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ecad_dsl.cli.console import (
    GOES_ON,
    JsonOption,
    check_writable,
    echo,
    interruptible,
    print_json,
    print_table,
    progress_bar,
    to_json,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.quality.bootstrap import Array
    from ecad_dsl.quality.folders import Picture
    from ecad_dsl.quality.metric import Metric

metrics_app = typer.Typer(help="What pictures are measured by.", no_args_is_help=True, rich_markup_mode=None)

WeightsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weights", metavar="METRIC=WHERE", help="Weights of a metric: a file, a folder or a name on the hub. Repeat."
    ),
]
ReferenceOption = Annotated[
    Path | None, typer.Option("--reference", help="For fid: statistics of real pictures, by `ecad metrics stats`.")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; cuda if there is one.")]
SizeOption = Annotated[
    int | None, typer.Option(min=1, help="Cut each picture to a square, its shorter side scaled to so many pixels.")
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(help="What the pictures were made for: .jsonl of file_name and prompt, .json by name, .txt by line."),
]
MetricOption = Annotated[
    str, typer.Option("--metric", "-m", help="Which, with commas between; `ecad metrics list` has them all.")
]


def register(app: typer.Typer) -> None:
    app.command()(score)
    metrics_app.command("list")(list_metrics)
    metrics_app.command("stats")(stats)
    app.add_typer(metrics_app, name="metrics")


@interruptible(f"what is measured is kept, and {GOES_ON}")
def score(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Of pictures; each is a row.")],
    metric: MetricOption,
    prompts: PromptsOption = None,
    originals: Annotated[
        Path | None, typer.Option(help="For psnr and lpips: the same prompts and seeds without a cache.")
    ] = None,
    reference: ReferenceOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures measured together.")] = 16,
    size: SizeOption = None,
    store: Annotated[
        Path | None, typer.Option(help="Where numbers are kept; FOLDER/scores.sqlite if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Numbers of each picture as .csv, or all as .json.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure pictures in folders: ImageReward, CLIP score, FID, PSNR and LPIPS.

    Numbers are kept picture by picture: an interrupted measurement goes on where it was, and one more metric measures
    nothing else again. Prompts are read from the pictures that `ecad generate` makes, from the folder's metadata.jsonl,
    or from .txt files beside them, unless --prompts names a list.
    """
    from ecad_dsl.quality.folders import read_folder

    if output is not None:
        _check_output(output)
    if "fid" in metric.split(",") and reference is None:
        raise EcadError(
            "fid needs statistics of real pictures; make them once, `ecad metrics stats FOLDER -o coco.npz`, and name"
            " them: --reference FILE.npz"
        )
    read = {folder: read_folder(folder, prompts) for folder in folders}
    first = None if originals is None else {picture.name: picture for picture in read_folder(originals)}
    metrics = load_metrics(metric, weights, device, reference)
    results = {
        folder: _scored(pictures, metrics, store or folder / "scores.sqlite", first, batch, size)
        for folder, pictures in read.items()
    }
    report = [
        {"folder": str(folder), "pictures": len(read[folder]), **_totals(metrics, numbers)}
        for folder, numbers in results.items()
    ]
    if output is not None:
        _write(output, report, read, results)
    if json:
        print_json(report)
    else:
        _print(report, metrics)


def list_metrics(json: JsonOption = False) -> None:
    """What pictures can be measured by, and what each needs to have fetched once."""
    from ecad_dsl.quality.metrics import METRICS

    if json:
        print_json([{"name": name, "meaning": m.meaning, "weights": m.weights} for name, m in METRICS.items()])
        return
    for name, known in METRICS.items():
        echo(f"{name:<14}{known.meaning}")
        echo(f"{'':<14}weights: {known.weights}")


@interruptible(f"what is measured is kept, and {GOES_ON}")
def stats(
    folder: Annotated[Path, typer.Argument(help="Of real pictures: COCO, MJHQ-30K, or one's own.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz that `ecad score --reference` reads.")],
    weights: WeightsOption = None,
    device: DeviceOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures measured together.")] = 16,
    size: SizeOption = None,
    count: Annotated[int | None, typer.Option(min=2, help="Draw so many of the pictures; the same every time.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Where features are kept meanwhile; beside the output if not given.")
    ] = None,
) -> None:
    """Statistics of real pictures' features, which the Frechet distance (fid) compares with.

    Interrupted, it goes on where it was. The file is read by other tools for FID, and theirs are read here.
    """
    from ecad_dsl.quality.folders import read_folder
    from ecad_dsl.quality.frechet import Statistics

    if output.suffix != ".npz":
        raise EcadError(f"statistics are written as .npz, not as {output.name!r}")
    check_writable(output)
    pictures = read_folder(folder)
    if count is not None:
        pictures = _drawn(pictures, count)
    (fid,) = load_metrics("fid", weights, device, None)
    numbers = _scored(pictures, [fid], store or output.with_suffix(".sqlite"), None, batch, size)["fid"]
    Statistics.of(numbers, fid.identity).save(output)
    echo(f"written: {output} ({len(pictures)} pictures)")


def _drawn(pictures: Sequence[Picture], count: int) -> list[Picture]:
    import random

    if count > len(pictures):
        raise EcadError(f"there are {len(pictures):,} pictures, fewer than {count:,}; leave out --count")
    chosen = sorted(random.Random(0).sample(range(len(pictures)), count))
    return [pictures[index] for index in chosen]


def load_metrics(names: str, weights: Sequence[str] | None, device: str | None, reference: Path | None) -> list[Metric]:
    """The metrics that options ask for.

    Raises:
        EcadError: one is unknown or named twice, or cannot be loaded.
    """
    from ecad_dsl.pipelines.load import usable_device
    from ecad_dsl.quality.metrics import METRICS, Asked, load_metric

    asked = [name.strip() for name in names.split(",") if name.strip()]
    if not asked or len(set(asked)) < len(asked):
        raise EcadError(f"name each metric once, with commas between: {', '.join(METRICS)}")
    sources = dict(map(_source, weights or ()))
    if unknown := [name for name in (*asked, *sources) if name not in METRICS]:
        raise EcadError(f"unknown metric {unknown[0]!r}; there are: {', '.join(METRICS)}")
    place = str(usable_device(device))
    return [load_metric(name, Asked(sources.get(name), place, reference)) for name in asked]


def _source(option: str) -> tuple[str, str]:
    name, equals, where = option.partition("=")
    if not (name and equals and where):
        raise EcadError(f"--weights wants METRIC=WHERE, such as image-reward=weights/ImageReward, not {option!r}")
    return name, where


def _check_output(output: Path) -> None:
    if output.suffix not in {".csv", ".json"}:
        raise EcadError(f"numbers are written as .csv or .json, not as {output.name!r}")
    check_writable(output)


def _scored(
    pictures: Sequence[Picture],
    metrics: Sequence[Metric],
    store: Path,
    originals: Mapping[str, Picture] | None,
    batch: int,
    size: int | None,
) -> dict[str, Array]:
    """The numbers by metric, with a progress bar while they are measured."""
    from ecad_dsl.quality.scores import ScoreStore, score

    with ScoreStore(store) as kept, progress_bar() as bar:
        task = bar.add_task("measuring", total=len(pictures))
        return score(
            pictures,
            metrics,
            kept,
            originals,
            batch=batch,
            size=size,
            on_done=lambda count: bar.update(task, advance=count),
        )


def _totals(metrics: Sequence[Metric], numbers: Mapping[str, Array]) -> dict[str, Any]:
    """What a row of the table holds: each figure, with an interval where it is a mean."""
    from ecad_dsl.quality.bootstrap import interval

    row: dict[str, Any] = {}
    for metric in metrics:
        own = numbers[metric.name]
        row[metric.name] = metric.total(own)
        if own.shape[1] == 1:
            row[f"{metric.name}_low"], row[f"{metric.name}_high"] = interval(own[:, 0])
    return row


def _write(
    output: Path,
    report: Sequence[Mapping[str, Any]],
    read: Mapping[Path, Sequence[Picture]],
    results: Mapping[Path, Mapping[str, Array]],
) -> None:
    from ecad_dsl.files import write_text

    lines = [
        {
            "folder": str(folder),
            "picture": picture.name,
            "prompt": picture.prompt,
            **{name: float(own[index, 0]) for name, own in results[folder].items() if own.shape[1] == 1},
        }
        for folder, pictures in read.items()
        for index, picture in enumerate(pictures)
    ]
    if output.suffix == ".json":
        write_text(output, to_json({"folders": report, "pictures": lines}) + "\n")
        return
    import pandas as pd

    write_text(output, pd.DataFrame(lines).to_csv(index=False))


def _print(report: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]) -> None:
    lines = [
        (escape(row["folder"]), str(row["pictures"]), *(_cell(row, metric.name) for metric in metrics))
        for row in report
    ]
    columns = [f"{metric.name} {'(more)' if metric.more_is_better else '(less)'}" for metric in metrics]
    print_table("Scores, with 95 % intervals over the pictures", ("folder", "pictures", *columns), lines)
    echo("(more): more is better, (less): less is better.")


def _cell(row: Mapping[str, Any], name: str) -> str:
    text = f"{row[name]:.3f}"
    return text if f"{name}_low" not in row else f"{text} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
