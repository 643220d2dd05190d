"""``ecad simplify | decompile``: shorter programs that mean the same, or almost, and programs from masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ecad_dsl.cli.console import (
    File,
    ModelOption,
    SeedOption,
    StepsOption,
    check_step_count,
    check_writable,
    echo_err,
    progress_bar,
    read,
    read_schedule,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from rich.progress import Progress

    from ecad_dsl.language import Program
    from ecad_dsl.schedule import Schedule
    from ecad_dsl.schedule.approximate import Measure, Removal

EffortOption = Annotated[float, typer.Option(min=0, help="How long to search, as a multiple of the default.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the program there; - or none: standard output.")
]
Quality = Literal["fidelity", "reward", "cost"]

_PATIENCE = 1.0
"""Seconds of a search before a progress bar is shown."""


def register(app: typer.Typer) -> None:
    app.command()(simplify)
    app.command()(decompile)


def simplify(
    file: File,
    model: ModelOption = None,
    steps: StepsOption = None,
    effort: EffortOption = 1.0,
    output: OutputOption = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Also leave out what is worth little: how much of the measure may be lost in all."),
    ] = None,
    measure: Annotated[
        Quality,
        typer.Option(help="Of --tolerance: likeness to uncached pictures (dB), reward, or MACs (share of all)."),
    ] = "fidelity",
    macs_tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Of --tolerance: share of all MACs that the result may cost more.")
    ] = 0.01,
    prompts: Annotated[int, typer.Option(min=1, max=10_000, help="Calibration prompts of the measure.")] = 12,
    seed: SeedOption = 0,
) -> None:
    """Rewrite a schedule with fewer rules; the masks stay the same unless a tolerance is given.

    A portable program stays portable unless --model and --steps say for what to simplify it; the result then names
    them. Fidelity and reward are measured on the reference model.
    """
    from ecad_dsl.schedule.simplify import simplify as shorten

    program = read(file)
    if output is not None and str(output) != "-":
        check_writable(output)
    if tolerance is None:
        with _share_bar("searching") as progress:
            result = shorten(program, model, steps, effort=effort, progress=progress)
    else:
        result = _approximated(program, model, steps, effort, tolerance, macs_tolerance, measure, prompts, seed)
    _summarise(program, result)
    _write(result, output)


def decompile(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .json, .safetensors or .ecad file.")],
    model: ModelOption = None,
    steps: StepsOption = None,
    effort: EffortOption = 1.0,
    output: OutputOption = None,
) -> None:
    """Find a short program with exactly the masks of a schedule."""
    from ecad_dsl.language import Meta, Model, Program, Steps
    from ecad_dsl.schedule.decompile import decompile as search

    schedule = read_schedule(file, model, steps)
    if output is not None and str(output) != "-":
        check_writable(output)
    with _share_bar("searching") as progress:
        found = search(schedule, effort=effort, progress=progress)
    name = "standard input" if file == "-" else Path(file).name
    header = (Model(schedule.spec.name), Steps(schedule.steps), Meta("source", name))
    echo_err(f"{_counted(found)} for {schedule.recomputed:,} recomputed cells")
    _write(Program(header + found.statements), output)


def _approximated(
    program: Program,
    model: str | None,
    steps: int | None,
    effort: float,
    tolerance: float,
    macs_tolerance: float,
    quality: Quality,
    prompts: int,
    seed: int,
) -> Program:
    """Simplified, then relieved of what is worth little, then simplified again."""
    from ecad_dsl.models import load_spec
    from ecad_dsl.schedule import compile
    from ecad_dsl.schedule.approximate import approximate
    from ecad_dsl.schedule.simplify import simplify as shorten
    from ecad_dsl.schedule.simplify import with_target

    spec = load_spec(model or program.model or "reference")
    steps = steps or program.steps or spec.inputs.get("steps")
    with _share_bar("searching") as progress:
        program = shorten(program, spec, steps, effort=effort, progress=progress)
    judge = _measure(quality, compile(program, spec, steps), prompts, seed)
    if quality == "cost":
        macs_tolerance = tolerance
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=None)

        def counted(schedule: Schedule) -> float:
            result = judge(schedule)
            bar.update(task, advance=1)
            return result

        for removal in approximate(program, counted, tolerance, spec, steps, macs_tolerance=macs_tolerance):
            program = with_target(removal.program, spec, removal.schedule.steps)
            _report(removal, quality)
    with _share_bar("searching") as progress:
        return shorten(program, spec, steps, effort=effort, progress=progress)


def _measure(quality: Quality, start: Schedule, prompts: int, seed: int) -> Measure:
    """The quality of a schedule, higher is better. By cost, the best is one whose MACs are those of the start.

    Raises:
        EcadError: pictures are to be judged, and the schedule is not for the reference model.
    """
    from ecad_dsl.schedule import cost

    if quality == "cost":
        saved = cost(start).saved
        return lambda schedule: -abs(cost(schedule).saved - saved)
    if start.spec.name != "reference":
        raise EcadError(
            f"{quality} is measured on the reference model, and the program is for {start.spec.title}; "
            "use --measure cost, or ecad.approximate with a measure of your own"
        )
    from ecad_dsl.cli.evolve import reference_problem

    problem = reference_problem(prompts, start.steps, seed)
    check_step_count(problem.sampler.pipe, start.steps)
    # Left to itself, a problem tells fidelity from fewer prompts than it has.
    measure = problem.reward if quality == "reward" else replace(problem, first=prompts).fidelity
    return lambda schedule: float(measure(schedule).mean())


def _report(removal: Removal, quality: Quality) -> None:
    from ecad_dsl.language import format_statement

    for mark, rules in (("-", removal.removed), ("+", removal.added)):
        for rule in rules:
            echo_err(f"{mark} {format_statement(rule)}")
    worth = {
        "fidelity": f"{removal.worth:+.3f} dB",
        "reward": f"{removal.worth:+.4f} of reward",
        "cost": f"{removal.worth:+.2%} of all MACs",
    }[quality]
    cells = f"{removal.cells:,} cell{'s' * (removal.cells != 1)}"
    echo_err(f"    worth {worth}; {cells} changed, MACs {removal.more_macs:+.2%} of all")


def _summarise(before: Program, after: Program) -> None:
    echo_err(f"{_counted(before)} before, {_counted(after)} after")
    lost = _comments(before) - _comments(after)
    if lost:
        echo_err(f"{lost} comment{'s' * (lost != 1)} of rules that are no more went with them")


def _counted(program: Program) -> str:
    rules, literals = program.length
    return f"{rules} rule{'s' * (rules != 1)} of {literals} literal{'s' * (literals != 1)}"


def _comments(program: Program) -> int:
    above = [line for statement in program.statements for line in statement.above]
    beside = [statement.beside for statement in program.statements]
    return sum(map(bool, (*above, *beside, *program.below)))


def _write(program: Program, output: Path | None) -> None:
    from ecad_dsl.files import write_text
    from ecad_dsl.schedule import format

    text = format(program)
    if output is None or str(output) == "-":
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
        echo_err(f"written: {output}")


@contextmanager
def _share_bar(description: str) -> Iterator[Callable[[float], None]]:
    """Takes the share that is done of some work; draws a progress bar once that has taken a while."""
    start = time.monotonic()
    with ExitStack() as stack:
        bar: Progress | None = None

        def advance(share: float) -> None:
            nonlocal bar
            if bar is None and time.monotonic() - start > _PATIENCE:
                bar = stack.enter_context(progress_bar())
                bar.add_task(description, total=100)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=round(100 * share))

        yield advance
        if bar is not None:  # a search may end before its time
            bar.update(bar.task_ids[0], completed=100)
