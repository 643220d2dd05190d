"""``ecad models list | show | inspect``: the models that schedules can be written for, and the spec of any other."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.console import JsonOption, check_writable, echo, echo_err, print_json, print_texts
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.models import ModelSpec

MAX_BYTES = 1 << 20
"""Of a configuration."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Models: list them, show one, read the spec of any other.", no_args_is_help=True)
    for command in (show, inspect):
        group.command()(command)
    group.command("list")(list_)
    app.add_typer(group, name="models")


def list_(json: JsonOption = False) -> None:
    """List the models that are known by name."""
    from ecad_dsl.models import load_spec, spec_names

    specs = [load_spec(name) for name in spec_names()]
    if json:
        print_json(
            [{"name": s.name, "title": s.title, "transformer": s.transformer, "blocks": s.blocks} for s in specs]
        )
        return
    lines = [(spec.name, f"{spec.blocks}", _stacks(spec), spec.transformer) for spec in specs]
    print_texts("models", ("name", "blocks", "stacks", "transformer"), lines)
    note = "\nany other transformer of diffusers: ecad models inspect CLASS -o mine.toml, then --model mine.toml"
    echo(note)


def _stacks(spec: ModelSpec) -> str:
    return ", ".join(f"{stack.blocks} {stack.name}" for stack in spec.stacks)


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or the .toml file of a spec.")],
    json: JsonOption = False,
) -> None:
    """Show a model's stacks, blocks and components, and what the portable roles mean on it."""
    from ecad_dsl.models import ROLES, load_spec

    spec = load_spec(model)
    roles = {name: _members(spec, name) for name in dict.fromkeys([*ROLES, *spec.groups])}
    if json:
        print_json(_facts(spec, roles))
        return
    heading = f"{spec.title} ({spec.name}), {spec.transformer}: {spec.blocks} blocks, {spec.cells} cells a step"
    echo(heading)
    first = 0
    for stack in spec.stacks:
        last = first + stack.blocks - 1
        title = f"{stack.name}: {stack.blocks} blocks in {stack.path}"
        title += f" (blocks {first}-{last} of all)" if len(spec.stacks) > 1 else ""
        lines = [(c.name, c.module, ", ".join(c.aliases), c.feeds or "") for c in stack.components]
        print_texts(title, ("component", "module", "also called", "read only by"), lines)
        first = last + 1
    print_texts("roles", ("name", "components"), [(name, ", ".join(members) or "-") for name, members in roles.items()])
    usual = {key: spec.inputs[key] for key in ("steps", "height", "width", "text_tokens") if key in spec.inputs}
    if usual:
        echo("\nusually " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in usual.items()))


def _members(spec: ModelSpec, name: str) -> list[str]:
    """The components that a name selects."""
    chosen = spec.select(name) or {}
    names = (stack.components[index].name for stack in spec.stacks for index in chosen.get(stack.name, ()))
    return list(dict.fromkeys(names))


def _facts(spec: ModelSpec, roles: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "transformer": spec.transformer,
        "blocks": spec.blocks,
        "cells": spec.cells,
        "stacks": [
            {
                "name": stack.name,
                "path": stack.path,
                "blocks": stack.blocks,
                "components": [
                    {"name": c.name, "module": c.module, "aliases": list(c.aliases), "feeds": c.feeds}
                    for c in stack.components
                ],
            }
            for stack in spec.stacks
        ],
        "roles": roles,
    }


def inspect(
    transformer: Annotated[
        str,
        typer.Argument(
            metavar="TRANSFORMER",
            help="A transformer class of diffusers, a config.json, or the folder of a pipeline or a transformer.",
        ),
    ],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="JSON file with the arguments of the class.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write this .toml file.")] = None,
) -> None:
    """Read the spec of any diffusers transformer; --model takes the file wherever it takes a model's name."""
    from ecad_dsl.files import write_text
    from ecad_dsl.models import to_toml

    if output is not None:
        if output.suffix != ".toml":
            raise EcadError(f"specs are written as .toml, not as {output.name!r}")
        check_writable(output)
    transformer_class, arguments = _read(transformer, config)
    from ecad_dsl.runtime.inspect import inspect_class

    spec = inspect_class(transformer_class, arguments)
    text = to_toml(spec)
    if output is None:
        echo(text.removesuffix("\n"))
        return
    write_text(output, text)
    echo_err(f"written: {output} ({spec.title}: {_stacks(spec)})")


def _read(transformer: str, config: Path | None) -> tuple[str, dict[str, Any]]:
    """The class and its arguments."""
    path = Path(transformer)
    if path.is_dir():
        places = [place for place in (path / "transformer" / "config.json", path / "config.json") if place.is_file()]
        if not places:
            raise EcadError(f"{path} has neither transformer/config.json nor config.json; name a folder that has")
        path = places[0]
    if path.suffix != ".json":
        return transformer, {} if config is None else _json(config)
    if config is not None:
        raise EcadError(f"{path} is a configuration already; leave out --config")
    arguments = _json(path)
    if not isinstance(arguments.get("_class_name"), str):
        raise EcadError(f"{path} does not say its _class_name; say it: ecad models inspect CLASS --config {path}")
    return arguments["_class_name"], arguments


def _json(path: Path) -> dict[str, Any]:
    from ecad_dsl.files import read_start

    text = read_start(path, MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise EcadError(f"{path} is larger than {MAX_BYTES >> 20} MiB, so no configuration")
    try:
        value = json_format.loads(text)
    except (ValueError, RecursionError) as error:
        raise EcadError(f"{path} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise EcadError(f"{path} must hold the arguments of the class by name, not a {type(value).__name__}")
    return value
