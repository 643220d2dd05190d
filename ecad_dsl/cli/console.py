"""What all commands share: the consoles, how a program is read, how a table is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

    from ecad_dsl.language import Program
    from ecad_dsl.models import ModelSpec
    from ecad_dsl.schedule import Schedule

FINDINGS, WRONG_USE, INTERRUPTED = 1, 2, 130

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A .ecad, .json or .safetensors file, or a schedule by name; - is standard input."
    ),
]
ScheduleFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...", help=".ecad, .json or .safetensors files, or schedules by name; - is standard input."
    ),
]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help=".ecad files; - reads standard input.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model, if the program names none: a name, or the .toml file of a spec."),
]
StepsOption = Annotated[int | None, typer.Option("--steps", "-s", min=1, help="Steps, if the program names none.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that measure side by side; they find the same. Default: one for each CPU."),
]
Dtype = Literal["float32", "bfloat16", "float16"]
"""Types of weights and activations."""
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=1_000_000, help="Another seed: other prompts and noise.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def echo(text: str) -> None:
    """A line of results on standard output, as it is."""
    typer.echo(text)


def echo_err(text: str) -> None:
    """A line on standard error, as it is: what has been done, and what went wrong."""
    typer.echo(text, err=True)


@cache
def console() -> Console:
    """Standard output for what has colours, or is as wide as the terminal; slow to import, and often not needed."""
    from rich.console import Console

    return Console(highlight=False, emoji=False)


def read(file: str) -> Program:
    """The program in a file or of the library, or on standard input for ``-``.

    Raises:
        EcadError: it cannot be read; the message holds the diagnostics.
    """
    from ecad_dsl.schedule import parse

    return parse(read_bytes(file), name_of(file))


def read_bytes(file: str) -> bytes:
    """What is in a program's file or in the library, or on standard input for ``-``.

    Raises:
        EcadError: it cannot be read.
    """
    from ecad_dsl.schedule import read_bytes

    return sys.stdin.buffer.read() if file == "-" else read_bytes(file)


def name_of(file: str) -> str:
    """What diagnostics call a file."""
    return "<stdin>" if file == "-" else file


@dataclass(frozen=True)
class OpenSchedule:
    """A schedule's file that has been read, so that its mistakes of form are known before any model is loaded."""

    file: str
    content: Program | Callable[[str | ModelSpec | None], Schedule]
    """The program, or what gives its masks on a model."""

    def on(
        self, model: str | ModelSpec | None = None, steps: int | None = None, default_steps: int | None = None
    ) -> Schedule:
        """The schedule on a model, and for this number of steps if it is given.

        Without a model it is the one that the file tells. A portable program falls on the reference model's side:
        its model, and ``default_steps`` or the model's own.

        Raises:
            EcadError: the file does not fit.
        """
        from ecad_dsl.language import Program
        from ecad_dsl.schedule import compile

        if isinstance(self.content, Program):
            return compile(self.content, *with_defaults(self.content, model, steps, default_steps))
        schedule = self.content(model)
        if steps not in (None, schedule.steps):
            raise EcadError(f"{self.file} has {schedule.steps} steps, not {steps}; leave out --steps")
        return schedule


def open_schedule(file: str) -> OpenSchedule:
    """Read a program (- is standard input), or the masks in a .json or .safetensors file.

    Raises:
        EcadError: it cannot be read; the message holds the diagnostics.
    """
    from ecad_dsl.schedule.interchange import holds_masks, open_masks

    return OpenSchedule(file, open_masks(file) if holds_masks(file) else read(file))


def read_schedule(file: str, model: str | None, steps: int | None) -> Schedule:
    """The schedule in a file, as :meth:`OpenSchedule.on` gives it."""
    return open_schedule(file).on(model, steps)


def with_defaults(
    program: Program, model: str | ModelSpec | None, steps: int | None, default_steps: int | None = None
) -> tuple[ModelSpec, int | None]:
    """What a program is seen on. A portable one falls on the reference model, and its 20 steps or ``default_steps``."""
    from ecad_dsl.models import ModelSpec, load_spec

    spec = model if isinstance(model, ModelSpec) else load_spec(model or program.model or "reference")
    return spec, steps or program.steps or default_steps or spec.inputs.get("steps")


def unused_name(stem: str, taken: Collection[str]) -> str:
    """What a table calls a file, so that no two rows have one name."""
    return stem if stem not in taken else f"{stem} ({len(taken)})"


def print_json(value: Any, echo: Callable[[str], None] = echo) -> None:
    """JSON, as :func:`to_json` writes it."""
    echo(to_json(value))


def to_json(value: Any) -> str:
    """JSON for people. What was not measured (NaN) is null."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: finite(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [finite(inner) for inner in part]
        return None if isinstance(part, float) and isnan(part) else part

    return json.dumps(finite(value), indent=2, allow_nan=False)


def print_table(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """A table on standard output: the first column to the left and folded if need be, figures to the right.

    No figure is ever cut short: where there is no room for all of them, lines are longer than the terminal's.
    """
    from rich.table import Table

    console().print(f"\n[bold]{title}[/]")
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0, overflow="fold")
    for line in lines:
        table.add_row(*line)
    first, *others = (max(map(_width, (column.header, *column.cells))) for column in table.columns)
    needed = min(first, _FOLDED) + sum(others) + _GAP * len(others)
    if needed > console().width:
        table.width = needed
    console().print(table, crop=False)


_FOLDED = 10
"""A first column that is longer keeps at least so much room."""
_GAP = 2
"""Between two columns."""


def _width(cell: RenderableType) -> int:
    from rich.text import Text

    return max((line.cell_len for line in Text.from_markup(str(cell)).split()), default=0)


def print_texts(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """A table of words, all to the left. Where there is no room, names stay whole and the last column is folded."""
    from rich.table import Table

    console().print(f"\n[bold]{title}[/]")
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    for line in lines:
        table.add_row(*line)
    console().print(table)


@dataclass
class Status:
    """A line of text under a progress bar."""

    text: str = ""


@contextmanager
def progress_bar(status: Status | None = None) -> Iterator[Progress]:
    """A progress bar on standard error, and a line of text under it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )

    class Bar(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            if status is not None and status.text:
                yield Text(status.text, style="dim", no_wrap=True, overflow="ellipsis")

    with Bar(*columns, console=Console(stderr=True, highlight=False, emoji=False)) as progress:
        yield progress


@contextmanager
def interruptible(remains: str) -> Iterator[None]:
    """Where Ctrl-C ends the command, and says what remains of its work."""
    try:
        yield
    except KeyboardInterrupt:
        echo_err(f"\ninterrupted; {remains}")
        raise typer.Exit(INTERRUPTED) from None


GOES_ON = "the same command goes on from there"
BEGINS_ANEW = "what was measured is not kept; the same command begins anew"


def writable_folder(folder: Path) -> Path:
    """The folder, made if need be: better known before minutes of work than after.

    Raises:
        EcadError: it cannot be made or written.
    """
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EcadError(f"cannot write to {folder}: {error.strerror}; choose a folder you may write to") from error
    return folder


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        EcadError: it is a folder, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise EcadError(f"cannot write {path}: it is a folder; name a file in it")
    writable_folder(path.parent)


def check_picture(path: Path | None) -> None:
    """Refuse a picture in a format that cannot be drawn, before the work that it would show.

    Raises:
        EcadError: the suffix is none of .png, .svg and .pdf.
    """
    if path is not None and path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise EcadError(f"pictures are written as .png, .svg or .pdf, not as {path.name!r}")


def check_step_count(pipe: Any, steps: int) -> None:
    """Refuse more steps than the pipeline's noise schedule has.

    Raises:
        EcadError: the message names the limit.
    """
    from ecad_dsl.pipelines.load import check_step_count

    check_step_count(pipe, steps)
