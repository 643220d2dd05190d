"""``ecad schedules list | show``: the schedules that come with ecad and are usable by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.console import JsonOption, ModelOption, StepsOption, echo, print_json, print_texts
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.language import Program
    from ecad_dsl.models import ModelSpec


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Schedules of the library: list them, show one. Each is usable by name wherever a file is.",
        no_args_is_help=True,
    )
    group.command("list")(list_)
    group.command()(show)
    app.add_typer(group, name="schedules")


def list_(
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only these: baselines, evolved or paper.")] = None,
    model: ModelOption = None,
    steps: StepsOption = None,
    json: JsonOption = False,
) -> None:
    """List the schedules that come with ecad; with --model those that fit it, and what each costs on it."""
    from ecad_dsl import schedules
    from ecad_dsl.models import load_spec

    if kind not in (None, *schedules.folders()):
        raise EcadError(f"there is no kind {kind!r} of schedules; the kinds are {', '.join(schedules.folders())}")
    spec = load_spec(model) if model is not None else None
    lines = [_facts(name, schedules.load(name)) for name in schedules.names(kind)]
    if spec is not None:
        costs = [_share(schedules.load(line["name"]), spec, steps) for line in lines]
        lines = [line | cost for line, cost in zip(lines, costs, strict=True) if cost is not None]
    if json:
        print_json(lines)
        return
    columns = ("name", "kind", "model", "steps", *(("recomputed", "MACs") if spec else ()), "title")
    print_texts("schedules", columns, [tuple(_cell(line, column) for column in columns) for line in lines])
    echo("\neach by its name: ecad show fora-3, ecad.apply(pipe, 'fora-3'); its text: ecad schedules show fora-3")


def _facts(name: str, program: Program) -> dict[str, Any]:
    from ecad_dsl import schedules

    return {
        "name": name,
        "kind": schedules.folder(name),
        "model": program.model,
        "steps": program.steps,
        "rules": len(program.rules),
        "title": program.meta.get("title"),
        "source": program.meta.get("source"),
    }


def _share(program: Program, spec: ModelSpec, steps: int | None) -> dict[str, float | None] | None:
    """Which shares of the cells and of the MACs it leaves on this model; None if it does not fit."""
    from ecad_dsl.schedule import CompileError, compile, cost

    try:
        schedule = compile(program, spec, program.steps or steps or spec.inputs.get("steps"))
    except CompileError:
        return None
    cells = schedule.steps * spec.cells
    return {"recomputed": schedule.recomputed / cells, "MACs": 1 - cost(schedule).saved if spec.has_costs else None}


def _cell(line: dict[str, Any], column: str) -> str:
    value = line[column]
    if column in ("recomputed", "MACs"):
        return "" if value is None else f"{value:.1%}"
    return {"model": "any", "steps": "any"}.get(column, "") if value is None else str(value)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A schedule of the library.")], json: JsonOption = False
) -> None:
    """Print the text of a schedule, with its comments: where it comes from, and what it does."""
    from ecad_dsl import schedules

    text = schedules.text(name)
    if json:
        program = schedules.load(name)
        print_json(_facts(name, program) | {"meta": dict(program.meta), "text": text})
    else:
        echo(text.removesuffix("\n"))
