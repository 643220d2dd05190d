"""docs/analysis.md says what the tables and commands really are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from ecad_dsl.analysis import baselines, frames

from ecad_dsl.cli.main import app

PAGE = (Path(__file__).parent.parent.parent / "docs" / "analysis.md").read_text(encoding="utf-8")


def table(after: str) -> list[list[str]]:
    """The cells of the first table after a text."""
    rows = re.search(r"(?:^\|.*\n)+", PAGE[PAGE.index(after) :], re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in rows[0].splitlines()[2:]]


@pytest.mark.parametrize("name", ["candidates", "evaluations", "rules", "generations", "cells"])
def test_every_column_is_on_the_page_with_its_type(name: str) -> None:
    said: dict[str, str] = {}
    for columns, types, _ in table(f"**{name}**: a row"):
        names = re.findall(r"`(\w+)`", columns)
        kinds = [kind.split(" missing")[0] for kind in re.sub(r", missing.*", "", types).split(", ")]
        said |= dict(zip(names, kinds * len(names) if len(kinds) == 1 else kinds, strict=True))
    promised = dict(getattr(frames, name.upper()))
    if name == "candidates":
        others = ("reward", "fidelity", "latency", "macs_full", "cache_bytes", "held_out_reward")
        promised |= {"parents": "list of str", **dict.fromkeys(others, "float64")}
    assert said == promised


def test_every_baseline_is_on_the_page() -> None:
    said = {}
    for generator, files, *_ in table("| generator | files"):
        name = re.match(r"`(\w+)\(", generator)
        assert name is not None
        said[name[1]] = re.findall(r"`([\w-]+)`", files)
    assert set(said) == {type(b).__name__ for b in baselines.LIBRARY.values()} | {"FewerSteps"}
    for files in said.values():
        for file in files:
            assert file in baselines.LIBRARY or any(name.endswith(file) for name in baselines.LIBRARY)


COMMANDS = re.findall(r"^    (ecad .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_exists_with_its_options(line: str) -> None:
    _, *words = shlex.split(line)
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 10
