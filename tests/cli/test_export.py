"""``ecad runs export``: a run as tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecad_dsl.evolution.search import evolve
from tests.evolution.synthetic import Synthetic


def test_every_table_is_written(ecad, tmp_path: Path) -> None:
    *_, last = evolve(Synthetic(), tmp_path / "run", population=4, generations=0, seed=0)
    target = ("--model", "reference", "--steps", 20)
    code, out, _ = ecad("runs", "export", tmp_path / "run", "--out", tmp_path / "csv", *target)
    assert code == 0
    assert f"candidates.csv: {last.evaluated} rows" in out
    assert ecad("runs", "export", tmp_path / "run", "-o", tmp_path, "--format", "parquet", *target)[0] == 0
    assert len(pd.read_parquet(tmp_path / "candidates.parquet")) == last.evaluated
    assert "--model NAME" in ecad("runs", "export", tmp_path / "run", "-o", tmp_path)[2]
