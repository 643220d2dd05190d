"""``ecad diff | retarget``, and ``ecad explain`` of a file: schedules read as one reads code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from ecad_dsl.cli.console import (
    FINDINGS,
    File,
    JsonOption,
    ModelOption,
    StepsOption,
    check_picture,
    console,
    echo,
    echo_err,
    open_schedule,
    print_json,
    print_table,
    read,
    with_defaults,
)
from ecad_dsl.cli.heat_map import difference_map
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecad_dsl.language import Program
    from ecad_dsl.schedule import Schedule
    from ecad_dsl.schedule.diff import Diff, RuleChange
    from ecad_dsl.schedule.explain import Explanation

_WIDEST = 100
"""Longer lines of text are hard to read, however wide the terminal."""


def register(app: typer.Typer) -> None:
    for command in (diff, retarget):
        app.command()(command)


def explain_file(file: str, model: str | None, steps: int | None, json: bool) -> None:
    """Say in English what each rule does, on how many cells it has the last word, and what it saves."""
    from ecad_dsl.language import format_statement
    from ecad_dsl.schedule import compile, cost
    from ecad_dsl.schedule.explain import explain

    program = read(file)
    spec, count = with_defaults(program, model, steps)
    schedule = compile(program, spec, count)
    explanations = explain(program, spec, count)
    lines = [_line(program, explanation) for explanation in explanations]
    if json:
        print_json(
            [
                {**asdict(explanation), "rule": format_statement(explanation.rule), "line": line}
                for explanation, line in zip(explanations, lines, strict=True)
            ]
        )
        return
    total = schedule.steps * spec.cells
    title = f"{spec.title}, {schedule.steps} steps: {schedule.recomputed:,} of {total:,} cells recomputed"
    _say(f"{title}; {cost(schedule).saved:.1%} of the MACs saved." if spec.has_costs else f"{title}.")
    for explanation, line in zip(explanations, lines, strict=True):
        console().print(f"\n[dim]{f'line {line}':<9}[/]", end="")
        console().print(f"[bold]{format_statement(explanation.rule)}[/]", soft_wrap=True)
        _say(explanation.sentence, indent=9)
        _say(_worth(explanation), indent=9)
        _say(_without(explanation), indent=9)


def _say(text: str, indent: int = 0) -> None:
    width = min(console().width, _WIDEST)
    margin = " " * indent
    console().print(fill(text, width, initial_indent=margin, subsequent_indent=margin), markup=False)


def _line(program: Program, explanation: Explanation) -> int:
    assert program.source is not None
    assert explanation.rule.span is not None
    return program.source.position(explanation.rule.span.start).line


def _worth(explanation: Explanation) -> str:
    from ecad_dsl.schedule.sentences import counted

    decides = f"Decides {counted(explanation.decides, 'cell')}"
    if explanation.saves is None or explanation.share is None:
        return f"{decides}."
    if not explanation.saves:
        return f"{decides}; saves no MACs."
    verb = "saves" if explanation.saves > 0 else "costs"
    share = f"{abs(explanation.share):.2%} of recomputing everything"
    return f"{decides}; {verb} {abs(explanation.saves):,} MACs ({share})."


def _without(explanation: Explanation) -> str:
    from ecad_dsl.schedule.sentences import counted, listed

    changes = [
        f"{counted(cells, 'cell')} would be {what}"
        for cells, what in ((explanation.would_recompute, "recomputed"), (explanation.would_reuse, "reused"))
        if cells
    ]
    return f"Without it {listed(changes)}." if changes else "Without it nothing would change."


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A .ecad, .json or .safetensors file; - reads a program.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    model: ModelOption = None,
    steps: StepsOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also draw it as .png, .svg or .pdf.")] = None,
    json: JsonOption = False,
) -> None:
    """Compare two schedules: their rules, their cells and their MACs. Exit 0 if they do the same, 1 if not.

    Rules are compared where both are programs.
    """
    from ecad_dsl.schedule import cost
    from ecad_dsl.schedule.diff import diff as compare

    if a == b == "-":
        raise EcadError("standard input can be one of the two, not both")
    check_picture(output)
    sides = [_side(file, model, steps) for file in (a, b)]
    schedules = [_seen_beside(one, other, model, steps) for one, other in (sides, sides[::-1])]
    _check_shapes(schedules, (a, b), sides)
    cells = compare(sides[0], sides[1], schedules[0].spec, schedules[0].steps)
    macs = [cost(schedule).macs for schedule in schedules] if cells.a.spec.has_costs else None
    if output is not None:
        from ecad_dsl.analysis import figures, frames

        title = f"A: {_label(a)}, B: {_label(b)}\n{cells.a.spec.title}, {cells.a.steps} steps"
        figures.save(figures.difference_map(frames.difference_cells(cells.a, cells.b), title), output)
    if json:
        print_json(
            {
                "model": cells.a.spec.name,
                "steps": cells.a.steps,
                "same": cells.same,
                "rules": None if cells.rules is None else [asdict(change) for change in cells.rules],
                "cells": [asdict(part) for part in cells.by_component],
                "macs": macs and {"a": macs[0], "b": macs[1], "difference": macs[1] - macs[0]},
            }
        )
    else:
        if cells.rules is not None:
            _print_rules(cells.rules, a, b)
        _print_cells(cells, macs)
    if output is not None:
        echo_err(f"written: {output}")
    if not cells.same:
        raise typer.Exit(FINDINGS)


def _side(file: str, model: str | None, steps: int | None) -> Program | Schedule:
    """The program or the masks in a file."""
    from ecad_dsl.language import Program

    opened = open_schedule(file)
    return opened.content if isinstance(opened.content, Program) else opened.on(model, steps)


def _seen_beside(one: Program | Schedule, other: Program | Schedule, model: str | None, steps: int | None) -> Schedule:
    """The schedule of one side. A portable program is seen on the other's model, for the other's number of steps."""
    from ecad_dsl.language import Program
    from ecad_dsl.schedule import compile

    if not isinstance(one, Program):
        return one
    others = other.model if isinstance(other, Program) else other.spec
    return compile(one, *with_defaults(one, model or one.model or others, steps or one.steps or other.steps))


def _check_shapes(schedules: Sequence[Schedule], files: Sequence[str], sides: Sequence[Program | Schedule]) -> None:
    """Refuse schedules that cannot be compared, and say how they can.

    Raises:
        EcadError: their models or numbers of steps differ.
    """
    from ecad_dsl.language import Program
    from ecad_dsl.schedule.diff import difference_of_shape

    mismatch = difference_of_shape(*schedules)
    if mismatch is None:
        return
    for file, side, goal in zip(files, sides, reversed(schedules), strict=True):
        if isinstance(side, Program):
            help_ = f"ecad retarget {file} --to {goal.spec.name} --to-steps {goal.steps}"
            raise EcadError(f"{mismatch}; rewrite one like the other: {help_}")
    raise EcadError(f"{mismatch}; `ecad decompile {files[0]}` gives a program, which `ecad retarget` can rewrite")


def _label(file: str) -> str:
    return "standard input" if file == "-" else Path(file).name


def _print_rules(rules: Sequence[RuleChange], a: str, b: str) -> None:
    from rich.markup import escape

    if all(change.kind == "same" for change in rules):
        echo("the rules are the same")
        return
    console().print(f"[bold]--- {escape(a)}\n+++ {escape(b)}[/]", soft_wrap=True)
    for change in rules:
        if change.kind == "same":
            echo(f"  {change.before}")
            continue
        note = "  [dim](moved)[/]" if change.kind == "moved" else ""
        if change.before is not None:
            console().print(f"[dark_orange]- {change.before}[/]{note}", soft_wrap=True)
        if change.after is not None:
            console().print(f"[blue]+ {change.after}[/]{note}", soft_wrap=True)


def _print_cells(cells: Diff, macs: list[int] | None) -> None:
    spec = cells.a.spec
    if cells.same:
        echo(f"the schedules are the same: on {spec.title}, {cells.a.steps} steps, every cell is")
        return
    parts = [(f"{part.stack} {part.component}", f"{part.only_a:,}", f"{part.only_b:,}") for part in cells.by_component]
    total_a, total_b = (sum(row.bit_count() for row in rows) for rows in (cells.only_a, cells.only_b))
    parts.append(("[bold]all[/]", f"{total_a:,}", f"{total_b:,}"))
    print_table(f"{spec.title}, {cells.a.steps} steps: cells recomputed", ("", "only in A", "only in B"), parts)
    if macs:
        difference = macs[1] - macs[0]
        last = ("B - A", f"{difference:+,}", f"{difference / macs[0]:+.1%}")
        lines = [("A", f"{macs[0]:,}", ""), ("B", f"{macs[1]:,}", ""), last]
        print_table("Multiply-accumulates", ("", "macs", ""), lines)
    for line in difference_map(cells):
        console().print(line, soft_wrap=True)


def retarget(
    file: File,
    to: Annotated[
        str | None, typer.Option("--to", help="Model to rewrite it for: a name, or the .toml file of a spec.")
    ] = None,
    to_steps: Annotated[int | None, typer.Option("--to-steps", min=1, help="Steps to rewrite it for.")] = None,
    model: ModelOption = None,
    steps: StepsOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write this file.")] = None,
) -> None:
    """Rewrite a schedule for another model or number of steps, and say what cannot be kept.

    Blocks and steps keep their position, components their role; periods stay, and with them the share of recomputes.
    """
    from ecad_dsl.files import write_text
    from ecad_dsl.models import load_spec
    from ecad_dsl.schedule import format
    from ecad_dsl.schedule.retarget import retarget as rewrite

    if to is None and to_steps is None:
        raise EcadError("say what to rewrite it for: --to MODEL, --to-steps N, or both")
    program = read(file)
    source = model or program.model
    if source is None:
        raise EcadError(f"{file} does not say for which model it was written; say it: --model MODEL")
    result, notes = rewrite(program, load_spec(source), load_spec(to or source), steps, to_steps)
    for note in notes:
        echo_err(f"{program.source.filename if program.source else file}:{note.line}: {note.text}")
    if output is None or str(output) == "-":
        typer.echo(format(result), nl=False)
    else:
        write_text(output, format(result))
        echo_err(f"written: {output}")
