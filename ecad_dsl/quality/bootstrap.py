"""Confidence intervals by resampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]

RESAMPLES = 2000
_MANY = 5000
_AT_ONCE = 20


@lru_cache(maxsize=8)
def resamples(count: int) -> Indices:
    """Which of ``count`` values each resample takes, [resamples, count]; always the same ones."""
    chosen = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    chosen.flags.writeable = False  # the same array is handed out again
    return chosen


def _by_parts(count: int) -> Iterator[Indices]:
    """As ``resamples``, of which many would fill the memory, a few at a time."""
    random = np.random.default_rng(0)
    for _ in range(RESAMPLES // _AT_ONCE):
        yield random.integers(count, size=(_AT_ONCE, count))


def interval(values: Array, statistic: Callable[..., Array] = np.mean, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (``np.mean``, ``np.median``), always with the same resamples."""
    chosen = [resamples(len(values))] if len(values) <= _MANY else _by_parts(len(values))
    found = np.concatenate([statistic(values[part], axis=1) for part in chosen])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
