"""``ecad census``: what a front has in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecad_dsl.evolution.search import evolve
from tests.evolution.synthetic import Synthetic


def test_a_run_is_set_beside_the_released_schedules(ecad, tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(), tmp_path / "run", population=6, generations=1, seed=0)
    target = ("--model", "reference", "--steps", 20)
    code, out, err = ecad("census", tmp_path / "run", *target, "--map", tmp_path / "map.png")
    assert code == 0, err
    assert "Which rules survive" in out
    assert "of the search front" in out
    assert f"these {len(last.front)}" in out
    assert (tmp_path / "map.png").stat().st_size > 1000
    found = json.loads(ecad("census", tmp_path / "run", *target, "--json")[1])
    assert {"profiles", "agreement", "survival"} == set(found)


def test_a_released_schedule_agrees_with_itself(ecad) -> None:
    found = json.loads(ecad("census", "flux-256-fast", "--json")[1])
    (line,) = (line for line in found["agreement"]["flux-256-fast"] if line["axis"] == "all")
    assert line["correlation"] == pytest.approx(1)
    assert "survival" not in found


def test_one_run_at_a_time(ecad, tmp_path: Path) -> None:
    *_, _last = evolve(Synthetic(), tmp_path / "run", population=2, generations=0, seed=0)
    assert "of one run, or of several files" in ecad("census", tmp_path / "run", "fora-3")[2]
