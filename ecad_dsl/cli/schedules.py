"""``ecad check | fmt | compile | show | cost``: commands on schedules alone."""

from __future__ import annotations

import difflib
import sys
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecad_dsl.cli.console import (
    FINDINGS,
    WRONG_USE,
    Dtype,
    File,
    Files,
    JsonOption,
    ModelOption,
    StepsOption,
    check_picture,
    console,
    echo,
    echo_err,
    name_of,
    print_json,
    print_table,
    read_bytes,
    read_schedule,
)
from ecad_dsl.cli.heat_map import schedule_map
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.language import Diagnostic


BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def register(app: typer.Typer) -> None:
    for command in (check, fmt, show, cost):
        app.command()(command)
    app.command("compile")(compile_)


class Format(StrEnum):
    """How findings are printed."""

    HUMAN = "human"
    JSON = "json"
    GITHUB = "github"


def check(
    files: Files,
    model: ModelOption = None,
    steps: StepsOption = None,
    fix: Annotated[bool, typer.Option("--fix", help="Apply the fixes that findings bring; say what is left.")] = False,
    format: Annotated[Format, typer.Option(help="How to print findings.")] = Format.HUMAN,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say what is wrong with schedules, every mistake in one go."""
    from ecad_dsl.language import render, render_github
    from ecad_dsl.models import load_spec
    from ecad_dsl.schedule import diagnose

    if model is not None:
        load_spec(model)  # an unknown one is wrong use, not a mistake in a file
    if json and format is Format.GITHUB:
        raise EcadError("--json and --format github ask for two formats; leave out one")
    format = Format.JSON if json else format
    # Standard output is the program itself where `-` is fixed.
    report = echo_err if fix and "-" in files else echo
    found: list[Diagnostic] = []
    unreadable = False
    for file in files:
        try:
            found += _fix(file, model, steps) if fix else diagnose(read_bytes(file), name_of(file), model, steps)
        except EcadError as error:
            echo_err(f"error: {error}")
            unreadable = True
    if format is Format.JSON:
        print_json([diagnostic.to_dict() for diagnostic in found], report)
    elif format is Format.GITHUB:
        if found:
            report(render_github(found))
    elif found:
        report(render(found))
        fixable = sum(diagnostic.fix is not None for diagnostic in found)
        if fixable and not fix:
            report(f"\n{fixable} of {len(found)} can be put right by `ecad check --fix`")
    elif not unreadable:
        report(f"{len(files)} file{'s' * (len(files) != 1)} checked: no mistakes")
    if unreadable:
        raise typer.Exit(WRONG_USE)
    if any(diagnostic.is_error for diagnostic in found):
        raise typer.Exit(FINDINGS)


def _fix(file: str, model: str | None, steps: int | None) -> list[Diagnostic]:
    """What is left after the fixes of a file, which are written."""
    from ecad_dsl.files import write_text
    from ecad_dsl.schedule import diagnose, fix

    _refuse_library([file])
    data = read_bytes(file)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        result = None
    else:
        result = fix(text, name_of(file), model, steps)
    if file == "-":
        sys.stdout.buffer.write(result.text.encode() if result else data)
        sys.stdout.buffer.flush()
    elif result and result.applied:
        write_text(Path(file), result.text)
    if result is None:
        return diagnose(data, name_of(file), model, steps)
    if result.applied:
        edits = f"{result.applied} fix{'es' * (result.applied != 1)}"
        echo_err(f"fixed: {name_of(file)} ({edits})")
    return result.left


def _refuse_library(files: list[str]) -> None:
    """Raise an EcadError if something else than a file is to be written."""
    from ecad_dsl.schedule.source import is_in_library

    for file in files:
        if file != "-" and is_in_library(file):
            raise EcadError(
                f"{file} is a schedule of the library and stays as it is; "
                f"to have one of your own: ecad schedules show {file} > {file}.ecad"
            )


def fmt(
    files: Files,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if a file would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Change nothing; print what would change.")] = False,
) -> None:
    """Rewrite schedules in the one canonical form; comments stay."""
    from ecad_dsl.files import write_text
    from ecad_dsl.language.parser import MAX_BYTES
    from ecad_dsl.schedule import format, parse

    # All are read before any is written: a mistake in the last leaves the first as it was.
    texts = {file: read_bytes(file) for file in files}
    if not (check or diff):
        _refuse_library(files)
    formatted = {file: format(parse(text, name_of(file))) for file, text in texts.items()}
    for file, after in formatted.items():
        if len(after.encode()) > MAX_BYTES:
            raise EcadError(f"{name_of(file)} is left as it is: formatted, it is larger than 1 MiB, the limit")
    changed = 0
    for file, after in formatted.items():
        # A byte-order mark and CRLF are no part of the canonical form.
        before = texts[file].decode()
        if file == "-" and not (check or diff):
            sys.stdout.buffer.write(after.encode())
            sys.stdout.buffer.flush()
            continue
        if before == after:
            continue
        changed += 1
        if diff:
            sys.stdout.buffer.write(_diff(before, after, file).encode())
            sys.stdout.buffer.flush()
        elif check:
            echo(f"would change: {file}")
        else:
            write_text(Path(file), after)
            echo(f"formatted: {file}")
    if changed and (check or diff):
        raise typer.Exit(FINDINGS)


def _diff(before: str, after: str, name: str) -> str:
    old, new = (StringIO(text, newline="\n").readlines() for text in (before, after))
    lines = difflib.unified_diff(old, new, name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def compile_(
    file: File,
    model: ModelOption = None,
    steps: StepsOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the masks as .safetensors or .json.")
    ] = None,
    steps_mask: Annotated[
        bool, typer.Option("--steps-mask", help="Print 1 or 0 for each step: cache-dit's steps_computation_mask.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Turn a schedule into boolean masks, one tensor [steps, blocks, components] a stack."""
    schedule = read_schedule(file, model, steps)
    if steps_mask:
        echo(",".join(map(str, schedule.steps_mask())))
        return
    if output is not None and str(output) == "-":
        raise EcadError("masks are written to a file, not to standard output; name one: -o masks.safetensors")
    if output is not None:
        from ecad_dsl.schedule.interchange import save_masks

        save_masks(schedule, output)
    total = schedule.steps * schedule.spec.cells
    if json:
        print_json(
            {
                "model": schedule.spec.name,
                "steps": schedule.steps,
                "cells": total,
                "recomputed": schedule.recomputed,
                "key": schedule.key,
                "shapes": {s.name: [schedule.steps, s.blocks, len(s.components)] for s in schedule.spec.stacks},
            }
        )
        return
    echo(f"{schedule.spec.title}, {schedule.steps} steps: {schedule.recomputed:,} of {total:,} cells recomputed")
    for stack in schedule.spec.stacks:
        names = ", ".join(component.name for component in stack.components)
        echo(f"  {stack.name}: {schedule.steps} steps x {stack.blocks} blocks x {len(stack.components)} ({names})")
    if output is not None:
        echo_err(f"written: {output}")


def show(
    file: File,
    model: ModelOption = None,
    steps: StepsOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also draw it as .png, .svg or .pdf.")] = None,
) -> None:
    """Draw a schedule: steps to the right, blocks downwards, the fuller the more is recomputed."""
    schedule = read_schedule(file, model, steps)
    check_picture(output)
    if output is not None:
        from ecad_dsl.analysis import figures, frames

        name = "" if file == "-" else f"{Path(file).name}\n"
        title = f"{name}{schedule.spec.title}, {schedule.steps} steps"
        figures.save(figures.heat_map(frames.cells(schedule), title), output)
    total = schedule.steps * schedule.spec.cells
    counts = f"{schedule.recomputed:,} of {total:,} cells recomputed ({schedule.recomputed / total:.1%})"
    echo(f"{schedule.spec.title}, {schedule.steps} steps: {counts}")
    for line in schedule_map(schedule):
        console().print(line, soft_wrap=True)
    if output is not None:
        echo_err(f"written: {output}")


def cost(
    file: File,
    model: ModelOption = None,
    steps: StepsOption = None,
    height: Annotated[int | None, typer.Option(min=1, max=65536, help="Pixels; the model's own if not given.")] = None,
    width: Annotated[int | None, typer.Option(min=1, max=65536, help="Pixels; the model's own if not given.")] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="What the transformer computes in, for the memory of the cache.")
    ] = "bfloat16",
    json: JsonOption = False,
) -> None:
    """Count the multiply-accumulates of one image, and the memory of what is kept, from the model's real modules."""
    from ecad_dsl.schedule import cost as cost_of

    schedule = read_schedule(file, model, steps)
    result = cost_of(schedule, height, width)
    table = result.table
    if height is None and width is None:
        _note_size(file, table.height, table.width)
    cache_bytes = result.cache_elements * BYTES[dtype]
    parts = result.by_component.groupby(["stack", "component"], sort=False)[["recomputed", "macs", "macs_full"]].sum()
    if json:
        print_json(
            {
                "model": schedule.spec.name,
                "steps": schedule.steps,
                "height": table.height,
                "width": table.width,
                "macs": result.macs,
                "macs_full": result.macs_full,
                "saved": result.saved,
                "dtype": dtype,
                "cache_bytes": cache_bytes,
                "parts": parts.reset_index().to_dict("records"),
            }
        )
        return
    title = f"{schedule.spec.title}, {schedule.steps} steps, {table.height} x {table.width} pixels"
    lines = [
        (f"{stack} {component}".strip(), f"{part.recomputed:,}", f"{part.macs:,}", f"{part.macs_full:,}")
        for stack, component, part in ((*name, part) for name, part in parts.iterrows() if isinstance(name, tuple))
    ]
    lines.append(("[bold]total[/]", f"{schedule.recomputed:,}", f"{result.macs:,}", f"{result.macs_full:,}"))
    print_table(title, ("", "recomputed", "macs", "macs with attention"), lines)
    own = [side for side, given in (("height", height), ("width", width)) if given is None]
    if own:
        size = f"{table.height} x {table.width} pixels, the model's own {' and '.join(own)}"
        echo(f"counted for {size}; --height and --width count another size")
    echo(f"saves {result.saved:.1%} of the MACs of recomputing everything")
    echo(f"keeps up to {cache_bytes / 2**20:,.1f} MiB of outputs in {dtype}")


def _note_size(file: str, height: int, width: int) -> None:
    """Say that a file was made for pictures of another size than is counted, if it says so."""
    from ecad_dsl.schedule.released import released_size

    size = released_size(file) if Path(file).suffix.lower() == ".json" else None
    if size is not None and size != (height, width):
        made, counted = (f"{h} x {w}" for h, w in (size, (height, width)))
        options = f"--height {size[0]} --width {size[1]}"
        echo_err(f"{file} was made for {made} pixels, and {counted} are counted; to count the file's: {options}")
