"""What the page of full-size models says can be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from click import Context

import ecad_dsl as ecad
from ecad_dsl.cli.main import app
from ecad_dsl.models.checkpoint import checkpoint_of
from ecad_dsl.models.toml import read_spec

PAGE = (Path(__file__).parents[2] / "docs" / "full-size.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ ecad (.*(?:\\\n.*)*)", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_the_options_that_they_are_shown_with(command: str) -> None:
    words = command.partition("  #")[0].replace("\\\n", " ").split()
    group = typer.main.get_command(app)
    known = group.get_command(Context(group), words[0])  # type: ignore[attr-defined]
    assert known is not None
    options = {name for parameter in known.params for name in parameter.opts}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= options


def test_options_in_the_table_are_those_of_generate() -> None:
    (table,) = re.findall(r"\| option \|(.*?)\n\n", PAGE, re.DOTALL)
    group = typer.main.get_command(app)
    generate = group.get_command(Context(group), "generate")  # type: ignore[attr-defined]
    known = {name for parameter in generate.params for name in parameter.opts}
    assert set(re.findall(r"^\| `(--[a-z]+)`", table, re.MULTILINE)) <= known


def test_the_example_of_a_spec_says_where_its_weights_are() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    spec = read_spec(example.encode(), "mine", "mine.toml")
    assert checkpoint_of(spec).repos == ("me/my-pixart", "PixArt-alpha/PixArt-XL-2-1024-MS")
    assert spec.defaults == {**ecad.load_spec("pixart-alpha-1024").defaults, "guidance_scale": 4.0}
