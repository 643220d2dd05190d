"""What a run has stored, and the cells of schedules, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecad_dsl.evolution.store import RunStore
from ecad_dsl.models import Stack
from ecad_dsl.schedule import Schedule


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


def cells(schedule: Schedule) -> pd.DataFrame:
    """A row for each cell of a schedule: step, stack, component, block, recompute."""
    parts = [
        _stack_cells(stack, {"recompute": array})
        for stack, array in zip(schedule.spec.stacks, schedule.to_numpy().values(), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def difference_cells(a: Schedule, b: Schedule) -> pd.DataFrame:
    """A row for each cell of two schedules of one shape: step, stack, component, block, and who recomputes: a, b."""
    both = zip(a.spec.stacks, a.to_numpy().values(), b.to_numpy().values(), strict=True)
    return pd.concat([_stack_cells(stack, {"a": one, "b": other}) for stack, one, other in both], ignore_index=True)


def _stack_cells(stack: Stack, values: Mapping[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Values are arrays [steps, blocks, components]."""
    shape = next(iter(values.values())).shape
    step, block, index = np.indices(shape).reshape(3, -1)
    names = [component.name for component in stack.components]
    return pd.DataFrame(
        {
            "step": step,
            "stack": stack.name,
            "component": np.array(names, object)[index],
            "block": block,
            **{name: array.reshape(-1) for name, array in values.items()},
        }
    )
