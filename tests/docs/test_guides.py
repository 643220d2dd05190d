"""The pages on metrics, tables and reproduction: commands parse, sizes are those of the configurations."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from ecad_dsl.cli.main import app
from ecad_dsl.models import load_spec
from ecad_dsl.pipelines.needs import needs_of_model
from ecad_dsl.schedule import compile, cost, load, parse

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("reproduce.md", "bench.md", "metrics.md", "full-size.md")


def commands(page: str) -> list[list[str]]:
    """The `ecad` commands in a page's console blocks."""
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line[2:], comments=True)[1:] for line in lines if line.startswith("$ ecad ")]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_parses(page: str) -> None:
    found = commands(page)
    assert found
    for words in found:
        command = typer.main.get_command(app)
        rest = words
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context("ecad", list(rest))  # raises where an option or an argument is wrong


def test_the_guide_names_only_plans_presets_and_schedules_that_ship() -> None:
    from ecad_dsl.evolution.presets import preset_names
    from ecad_dsl.quality.plan import plan_names

    for words in commands("reproduce.md"):
        for option, known in (("--plan", plan_names()), ("--preset", preset_names())):
            if option in words:
                assert words[words.index(option) + 1] in known


def rows(text: str) -> list[list[str]]:
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_sizes_are_those_of_the_configurations() -> None:
    import torch

    text = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    table = [
        row for row in rows(text.split("## 1. Install")[0]) if row[0] in ("pixart-alpha", "pixart-sigma", "flux.1-dev")
    ]
    assert len(table) == 3
    for model, dtype, everything, pictures, kept in table:
        needs, size = needs_of_model(model), getattr(torch, dtype)
        assert sum(needs.bytes(size).values()) / 2**30 == pytest.approx(float(everything), abs=0.01)
        assert sum(needs.without_text().bytes(size).values()) / 2**30 == pytest.approx(float(pictures), abs=0.01)
        cached = cost(compile(parse("cache all every 2 steps"), load_spec(model), 20), 256, 256)
        assert cached.cache_elements * size.itemsize / 2**20 == pytest.approx(float(kept), abs=0.1)


def test_the_published_macs_are_reproduced() -> None:
    text = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    for heading, model in (("| PixArt-alpha, 256 px", "pixart-alpha"), ("| FLUX.1-dev, 256 px", "flux.1-dev")):
        table = rows(text[text.index(heading) :].split("\n\n")[0])
        quoted = {row[1]: float(row[2]) for row in table[2:] if re.fullmatch(r"[a-z0-9-]+", row[1]) and row[2]}
        assert {"none", "fora-3"} < set(quoted)
        for name, tmacs in quoted.items():
            schedule = compile(load(name), load_spec(model), 20)
            assert cost(schedule, 256, 256).macs / 1e12 == pytest.approx(tmacs, abs=0.006)
