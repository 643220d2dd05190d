"""Confidence intervals by resampling."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]

RESAMPLES = 2000


@lru_cache(maxsize=8)
def resamples(count: int) -> Indices:
    """Which of ``count`` values each resample takes, [resamples, count]; always the same ones."""
    chosen = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    chosen.flags.writeable = False  # the same array is handed out again
    return chosen


def interval(values: Array, statistic: Callable[..., Array] = np.mean, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (``np.mean``, ``np.median``), always with the same resamples."""
    found = statistic(values[resamples(len(values))], axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
