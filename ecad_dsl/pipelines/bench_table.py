"""The figures of a benchmark's plan, from pictures and timings that lie in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array, interval
from ecad_dsl.quality.folders import Picture
from ecad_dsl.quality.frechet import FrechetDistance, Statistics
from ecad_dsl.quality.metric import Metric
from ecad_dsl.quality.metrics import Asked, load_metric
from ecad_dsl.quality.plan import NONE, Plan
from ecad_dsl.quality.scores import ScoreStore, score
from ecad_dsl.schedule import Schedule, cost

if TYPE_CHECKING:
    import pandas as pd

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""
Pictures = Mapping[str, Mapping[str, Sequence[Picture]]]
"""Of each row, by set."""
Figures = dict[str, dict[str, float]]
"""Of each row, by column."""


class Row(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def schedule(self) -> Schedule: ...


def measured(
    plan: Plan, folder: Path, pictures: Pictures, references: Mapping[str, Statistics], *, device: str, watch: Watch
) -> Figures:
    """Quality of each row: for each set and metric a figure, with an interval where it is a mean over pictures.

    Raises:
        EcadError: a metric cannot be loaded.
    """
    figures: Figures = {row: {} for row in pictures}
    wanted = dict.fromkeys(metric for each in plan.sets for metric in each.metrics)
    with ScoreStore(folder / "scores.sqlite") as store:
        for name in wanted:
            metric = load_metric(name, Asked(plan.weights.get(name), device))
            for each in plan.sets:
                if name not in each.metrics:
                    continue
                own = metric
                if isinstance(metric, FrechetDistance):
                    own = metric.compared_with(references[each.name])
                for row, sets in pictures.items():
                    watch(f"measuring {each.name} {name}, {row}", list(pictures).index(row), len(pictures))
                    numbers = _numbers(own, sets[each.name], pictures[NONE][each.name], store)
                    figures[row] |= _figure(f"{each.name} {name}", own, numbers)
    return figures


def _numbers(metric: Metric, own: Sequence[Picture], plain: Sequence[Picture], store: ScoreStore) -> Array:
    """Of a row's pictures; those under no cache are their originals."""
    originals = {picture.name: original for picture, original in zip(own, plain, strict=True)}
    return score(own, [metric], store, originals)[metric.name]


def _figure(column: str, metric: Metric, numbers: Array) -> dict[str, float]:
    figure = {column: metric.total(numbers)}
    if numbers.shape[1] == 1:
        figure[f"{column}_low"], figure[f"{column}_high"] = interval(numbers[:, 0])
    return figure


def table(
    rows: Sequence[Row],
    size: tuple[int | None, int | None],
    seconds: Mapping[str, Array | None],
    timing_batch: int,
    figures: Figures,
) -> pd.DataFrame:
    """A row a schedule.

    Args:
        rows: the first is the plain pipeline.
        size: height and width of the pictures; the model's own where None.
        seconds: of each row, [rounds, 2]: of the plain pipeline and of this row. None where it was not timed.
        timing_batch: pictures in a run that was timed.
        figures: of each row.
    """
    import pandas as pd

    lines = []
    for row in rows:
        line: dict[str, Any] = {"name": row.name, "steps": row.schedule.steps, "tmacs": _tmacs(row.schedule, size)}
        if (pairs := seconds[row.name]) is not None:
            line |= _median("ms_per_image", 1000 * pairs[:, 1] / timing_batch)
            line |= _median("speedup", pairs[:, 0] / pairs[:, 1])
        lines.append({**line, **figures.get(row.name, {})})
    return pd.DataFrame(lines)


def _tmacs(schedule: Schedule, size: tuple[int | None, int | None]) -> float:
    """Of one picture; not a number for a model whose inputs nobody described."""
    try:
        return cost(schedule, *size).macs / 1e12
    except EcadError:
        return float("nan")


def _median(name: str, values: Array) -> dict[str, float]:
    low, high = interval(values, np.median)
    return {name: float(np.median(values)), f"{name}_low": low, f"{name}_high": high}
