"""What a run has stored, as a table."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pandas as pd

from ecad_dsl.errors import EcadError


def evaluations(run: str | Path) -> pd.DataFrame:
    """Every evaluation of a run folder in order: generation, program, edit, macs, reward, error, seconds.

    Raises:
        EcadError: the folder holds no run.
    """
    path = Path(run) / "run.sqlite"
    if not path.exists():
        raise EcadError(f"{run} holds no run (no run.sqlite)")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return pd.read_sql("SELECT * FROM evaluations ORDER BY rowid", database)
