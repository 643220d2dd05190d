"""``ecad compare``: runs, and more baselines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecad_dsl.cli.console import console
from ecad_dsl.evolution.search import evolve
from ecad_dsl.quality.measure import Entry, Measured
from ecad_dsl.schedule import cost
from tests.evolution.synthetic import Synthetic


@pytest.fixture(autouse=True)
def _few_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell, and quick."""
    from ecad_dsl.analysis import baselines

    monkeypatch.setattr(baselines, "LIBRARY", {name: baselines.LIBRARY[name] for name in ("none", "fora-2", "fora-4")})
    monkeypatch.setattr(baselines, "FEWER_STEPS", (0.5,))


SMALL = ("--prompts", 2, "--rounds", 0, "--workers", 1)


def by_count(pipe: object, entries: list[Entry], *_: object) -> list[Measured]:
    """Rewards by how much is recomputed, in place of pictures."""
    shares = [entry.schedule.recomputed / 480 for entry in entries]
    return [
        Measured(e, cost(e.schedule).macs, share + np.arange(3.0)) for e, share in zip(entries, shares, strict=True)
    ]


def test_several_runs_are_families_and_are_put_together(ecad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecad_dsl.cli.compare.measure_all", by_count)
    for seed, folder in enumerate(("a/run", "b/run")):
        *_, _last = evolve(Synthetic(), tmp_path / folder, population=2, generations=0, seed=seed)
    found = json.loads(ecad("compare", tmp_path / "a" / "run", tmp_path / "b" / "run", *SMALL, "--json")[1])
    assert {row["ours"] for row in found["claims"]} == {str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")}
    runs = {row["rival"]: row for row in found["runs"]}
    gains = [row["gain"] for row in found["claims"] if row["rival"] == "fora-2"]
    assert runs["fora-2"]["runs"] == 2
    assert runs["fora-2"]["gain"] == pytest.approx(sum(gains) / 2)
    assert {"FORA", "fewer steps"} <= {row["family"] for row in found["hypervolumes"]}


def test_more_baselines_are_rivals(ecad, write) -> None:
    mine = write("cache all every 3 steps\n", "mine.ecad")
    rival = write('meta family "SmoothCache"\ncache ffn every 3 steps\n', "smooth.ecad")
    found = json.loads(ecad("compare", mine, "--baseline", rival, "-s", 4, *SMALL, "--json")[1])
    rivals = {row["rival"]: row["family"] for row in found["claims"]}
    assert rivals["smooth"] == "SmoothCache"
    assert "mine" not in rivals
    assert not found["runs"]


def test_names_may_look_like_markup_or_formulas(ecad, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console.cache_clear()
    monkeypatch.setenv("COLUMNS", "200")
    mine = write("cache all every 3 steps\n", "[b]mine.ecad")
    rival = write('meta family "[/]"\ncache ffn every 3 steps\n', "[red]$\\nope{$.ecad")
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "runs.csv").write_text("of another comparison")
    options = ("--plot", tmp_path / "p.svg", "--tables", tables)
    code, out, err = ecad("compare", mine, "--baseline", rival, "-s", 4, *SMALL, *options)
    console.cache_clear()
    assert code == 0, err
    assert "\n[/] " in out
    assert "[red]$\\nope{$ " in out
    assert not (tables / "runs.csv").exists()
    assert all(len(pd.read_csv(table)) for table in tables.glob("*.csv"))


def test_a_run_without_a_front_says_how_to_go_on(ecad, tmp_path: Path) -> None:
    *_, _last = evolve(Synthetic(), tmp_path / "run", population=2, generations=0, seed=0)
    for file in (tmp_path / "run" / "front").glob("*"):
        file.unlink()
    assert "ecad evolve --resume" in ecad("compare", tmp_path / "run")[2]
