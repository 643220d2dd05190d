"""Schedules away from where they were found: how they hold against the baselines that belong there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
import pandas as pd
from ecad_dsl.analysis.claims import Curve

from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.quality.measure import Measured


def transfer_table(measured: Mapping[str, Sequence[Measured]], home: str | None = None) -> pd.DataFrame:
    """A row for each setting, evolved schedule and family of baselines.

    ``measured`` has by the name of a setting what was measured in it: no cache, baselines and schedules. ``gain`` with
    ``gain_low`` and ``gain_high`` is what the schedule's reward is above the family's front at the schedule's cost, by
    the same mixtures as in :mod:`~ecad_dsl.analysis.claims`, NaN where the family has nothing so cheap. The family
    ``any`` is the front of all baselines together. ``kept`` is the reward as a share of that of no cache there, so
    that settings with harder prompts or worse pictures are not taken for bad schedules.
    """
    lines = []
    for setting, entries in measured.items():
        plain = next(m for m in entries if m.entry.group == "none")
        curves = _curves(entries)
        for m in entries:
            if m.entry.group != "evolved":
                continue
            for family, curve in curves.items():
                at = curve.at_cost(m.macs)
                gain = np.full(len(m.rewards), nan) if at is None else m.rewards - at
                low, high = (nan, nan) if at is None else interval(gain)
                lines.append(
                    {
                        "setting": setting,
                        "home": setting == home,
                        "schedule": m.entry.name,
                        "steps": m.entry.schedule.steps,
                        "macs_share": m.macs / plain.macs,
                        "reward": m.rewards.mean(),
                        "no_cache": plain.rewards.mean(),
                        "kept": m.rewards.mean() / plain.rewards.mean(),
                        "over": family,
                        "gain": gain.mean(),
                        "gain_low": low,
                        "gain_high": high,
                        "prompts": len(m.rewards),
                    }
                )
    return pd.DataFrame(lines)


def _curves(entries: Sequence[Measured]) -> dict[str, Curve]:
    rivals = [m for m in entries if m.entry.group in ("baseline", "fewer steps")]
    families = dict.fromkeys(m.entry.family or m.entry.group for m in rivals)
    members = {family: [m for m in rivals if (m.entry.family or m.entry.group) == family] for family in families}
    return {family: Curve.along_front(found) for family, found in {**members, "any": rivals}.items()}
