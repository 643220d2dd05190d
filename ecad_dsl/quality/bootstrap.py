"""Confidence intervals by resampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 2000


def interval(values: Array, statistic: Callable[..., Array] = np.mean, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (``np.mean``, ``np.median``), always with the same resamples."""
    random = np.random.default_rng(0)
    found = statistic(values[random.integers(len(values), size=(RESAMPLES, len(values)))], axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
