"""``ecad doctor``: what this machine has, what each model needs, and plain advice."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ecad_dsl.cli.console import JsonOption, console, echo, print_json, print_table
from ecad_dsl.cli.loading import DeviceOption

if TYPE_CHECKING:
    from ecad_dsl.pipelines.doctor import Report


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Models to look at; all published ones if none.")
    ] = None,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Tell what this machine has, what each model needs and whether it fits. Nothing is downloaded."""
    from ecad_dsl.pipelines.doctor import examine

    report = examine(models or None, device)
    if json:
        print_json(asdict(report))
    else:
        _print(report)


def _print(report: Report) -> None:
    from ecad_dsl.pipelines.needs import in_gib

    def memory(size: int | None) -> str:
        return "?" if size is None else in_gib(size)

    echo(f"Python {report.python} on {report.system}")
    echo(", ".join(f"{name} {version or 'missing'}" for name, version in report.versions.items()))
    devices = [(f"{d.name}: {d.title}", memory(d.free), memory(d.total)) for d in report.devices]
    print_table("Devices", ("device", "free", "memory"), devices)
    echo(f"\nThe hub's cache is {report.cache}, with {in_gib(report.disk_free)} of disk free;")
    echo("a token is set" if report.has_token else "no token is set, so gated models cannot be downloaded")
    for extra in report.extras:
        echo(f"extra {extra.name}: {'missing ' + ', '.join(extra.missing) if extra.missing else 'installed'}")
    lines = [
        (
            model.name,
            f"{sum(model.parameters.values()) / 1e9:.1f} B",
            in_gib(model.bytes),
            in_gib(model.bytes_pictures),
            model.dtype,
            "gated" if model.gated and model.cached == "no" else model.cached,
            model.fits if model.fits in ("yes", "no") else "not as is",
        )
        for model in report.models
    ]
    columns = ("model", "parameters", "weights", "embedded", "dtype", "cached", "fits")
    print_table("Models", columns, lines)
    console().print("[dim]embedded: weights without the text encoders, for prompts that `ecad embed` has encoded.[/]")
    if report.advice:
        echo("\nAdvice")
        for line in report.advice:
            echo(f"- {line}")
