"""What a run has stored, as a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecad_dsl.evolution.store import RunStore


def evaluations(run: str | Path) -> pd.DataFrame:
    """Every evaluation of a run folder in order: generation, program, edit, error, seconds, macs, reward and so on.

    Raises:
        EcadError: the folder holds no run.
    """
    with RunStore(Path(run), create=False) as store:
        found = store.evaluations()
    return pd.DataFrame([{**vars(e), "parents": list(e.parents), **e.objectives} for e in found]).drop(
        columns="objectives", errors="ignore"
    )
