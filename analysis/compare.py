"""Comparison tables: what each schedule saves and what it costs in quality, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import pandas as pd

from ecad_dsl.quality.measure import Array, Measured

RESAMPLES = 2000


def table(measured: Sequence[Measured], reference: str = "none") -> pd.DataFrame:
    """One line a schedule, compared with the one named ``reference``.

    ``reward_low`` and ``reward_high`` bound the mean over prompts, ``change_low`` and ``change_high`` the mean
    difference to the reference on the same prompts: 95 % percentile bootstrap over prompts, 2,000 resamples.
    ``speedup`` is the median of the paired ratios of time; ``macs_speedup`` what the MACs promise.
    """
    base = next(m for m in measured if m.entry.name == reference)
    lines = []
    for m in measured:
        low, high = interval(m.rewards)
        change = m.rewards - base.rewards
        change_low, change_high = interval(change)
        ratios = [b / s for b, s in zip(base.seconds, m.seconds, strict=True)]
        lines.append(
            {
                "name": m.entry.name,
                "group": m.entry.group,
                "steps": m.entry.schedule.steps,
                "macs": m.macs,
                "macs_share": m.macs / base.macs,
                "reward": m.rewards.mean(),
                "reward_low": low,
                "reward_high": high,
                "change": change.mean(),
                "change_low": change_low,
                "change_high": change_high,
                "ms_per_image": 1000 * median(m.seconds) / m.batch if m.seconds else float("nan"),
                "speedup": median(ratios) if ratios else float("nan"),
                "macs_speedup": base.macs / m.macs,
            }
        )
    return pd.DataFrame(lines)


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, always with the same resamples."""
    random = np.random.default_rng(0)
    means = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_above(one: Array, other: Array) -> float:
    """In how many bootstrap resamples of the prompts ``one`` has the higher mean, from 0 to 1."""
    random = np.random.default_rng(0)
    chosen = random.integers(len(one), size=(RESAMPLES, len(one)))
    return float((one[chosen].mean(1) > other[chosen].mean(1)).mean())
