"""Comparison tables: what each schedule saves and what it costs in quality, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecad_dsl.quality.bootstrap import RESAMPLES, Array, interval
from ecad_dsl.quality.measure import Measured

if TYPE_CHECKING:
    from ecad_dsl.evolution.candidate import Candidate


def table(measured: Sequence[Measured], reference: str = "none") -> pd.DataFrame:
    """One line a schedule, compared with the one named ``reference``.

    ``reward_low`` and ``reward_high`` bound the mean over prompts, ``change_low`` and ``change_high`` the mean
    difference to the reference on the same prompts: 95 % percentile bootstrap over prompts, 2,000 resamples.
    ``speedup`` is the median of the ratios to the plain pipeline's time, with the same kind of interval over rounds;
    ``macs_speedup`` is what the MACs promise.
    """
    base = next(m for m in measured if m.entry.name == reference)
    lines = []
    for m in measured:
        low, high = interval(m.rewards)
        change = m.rewards - base.rewards
        change_low, change_high = interval(change)
        ratios = np.array([plain / cached for plain, cached in m.seconds])
        speedup_low, speedup_high = interval(ratios, np.median) if m.seconds else (nan, nan)
        lines.append(
            {
                "name": m.entry.name,
                "group": m.entry.group,
                "family": m.entry.family or m.entry.group,
                "steps": m.entry.schedule.steps,
                "macs": m.macs,
                "macs_share": m.macs / base.macs,
                "reward": m.rewards.mean(),
                "reward_low": low,
                "reward_high": high,
                "change": change.mean(),
                "change_low": change_low,
                "change_high": change_high,
                "ms_per_image": 1000 * median(cached for _, cached in m.seconds) / m.batch if m.seconds else nan,
                "speedup": float(np.median(ratios)) if m.seconds else nan,
                "speedup_low": speedup_low,
                "speedup_high": speedup_high,
                "macs_speedup": base.macs / m.macs,
            }
        )
    return pd.DataFrame(lines)


def share_above(one: Array, other: Array) -> float:
    """In how many bootstrap resamples of the prompts ``one`` has the higher mean, from 0 to 1."""
    random = np.random.default_rng(0)
    chosen = random.integers(len(one), size=(RESAMPLES, len(one)))
    return float((one[chosen].mean(1) > other[chosen].mean(1)).mean())


def match(front: Sequence[Candidate], macs: int) -> Candidate | None:
    """The evolved candidate to set against a rival of this many MACs: the best that costs no more.

    Best on the calibration prompts: choosing on held-out ones would flatter it. Candidates of the first population
    were written by hand and do not count.
    """
    bred = [candidate for candidate in front if candidate.generation > 0 and candidate.macs <= macs]
    return max(bred, key=lambda candidate: candidate.quality, default=None)


def verdict(rival: Measured, evolved: Measured | None) -> dict[str, Any]:
    """What an evolved schedule gained over a rival on the same prompts: mean, 95 % interval, MACs.

    ``dominates``: no more MACs and the higher mean reward; ``surely``: the interval lies above zero, too.
    """
    if evolved is None:
        return {"rival": rival.entry.name, "evolved": None, "dominates": False, "surely": False}
    gain = evolved.rewards - rival.rewards
    low, high = interval(gain)
    dominates = bool(gain.mean() > 0 and evolved.macs <= rival.macs)
    return {
        "rival": rival.entry.name,
        "evolved": evolved.entry.name,
        "gain": float(gain.mean()),
        "low": low,
        "high": high,
        "fewer_macs": 1 - evolved.macs / rival.macs,
        "dominates": dominates,
        "surely": dominates and low > 0,
    }
