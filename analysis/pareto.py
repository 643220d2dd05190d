"""Pareto fronts of comparison tables: cheaper is better, more reward is better."""

from __future__ import annotations

import pandas as pd


def front(table: pd.DataFrame, cost: str = "macs", gain: str = "reward") -> pd.DataFrame:
    """The lines that no other line beats: none is as cheap and better, or as good and cheaper. Cheapest first."""
    ordered = table.sort_values([cost, gain], ascending=[True, False])
    best = ordered[gain].astype(float).cummax().shift(fill_value=float("-inf"))
    return ordered[ordered[gain] > best]


def hypervolume(table: pd.DataFrame, worst_macs: float, worst_reward: float) -> float:
    """Area that the front dominates, up to a point that is worse than all: more is better."""
    area, ceiling = 0.0, worst_reward
    for _, line in front(table).iterrows():
        area += max(0.0, worst_macs - line["macs"]) * max(0.0, line["reward"] - ceiling)
        ceiling = max(ceiling, line["reward"])
    return area
