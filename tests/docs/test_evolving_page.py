"""The page on evolving: its Python runs as it stands there, and the options that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from ecad_dsl.cli.main import app
from ecad_dsl.evolution.store import RunStore

PAGE = (Path(__file__).parents[2] / "docs" / "evolving.md").read_text(encoding="utf-8")


def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/evolving.md", "exec"), names)
    assert len(names["volumes"]) == 3  # type: ignore[arg-type]
    assert names["by_prompt"]
    with RunStore(tmp_path / "runs" / "contrast", create=False) as store:
        evaluations = store.evaluations()
        assert [evaluation for evaluation in evaluations if evaluation.error] == []
        assert all(len(values) == 2 for values in store.measurements("reward").values())


def test_a_problem_of_ones_own_takes_less_than_twenty_lines() -> None:
    (own,) = re.findall(r"^class Contrast:\n.*?(?=^\S)", PAGE, flags=re.M | re.S)
    assert len([line for line in own.splitlines() if line.strip()]) < 20


@pytest.mark.parametrize("command", re.findall(r"^\$ ecad (.*)", PAGE, re.M))
def test_commands_have_the_options_that_they_are_shown_with(command: str) -> None:
    words = command.partition("  #")[0].split()
    known = typer.main.get_command(app)
    while words and hasattr(known, "commands"):
        known = known.commands[words.pop(0)]
    options = {name for parameter in known.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_options_named_on_the_page_are_those_of_evolve() -> None:
    group = typer.main.get_command(app)
    options = {name for parameter in group.commands["evolve"].params for name in parameter.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= options
