"""What one family of schedules gains over others: at equal cost, at equal quality, and over the costs that both have.

A family's schedules are points; between two neighbours lies their mixture: a share of the pictures drawn under one, the
rest under the other, has exactly the cost and the mean quality that lie on the straight line between them. So every
cost between a family's cheapest and dearest schedule can be had, and nothing is extrapolated.

The curve of the family that claims something runs through all of its schedules, however they turn out on these
prompts. Rivals are given the benefit: theirs runs through their front on these very prompts.

All intervals are 95 % percentile bootstraps over prompts, paired: both sides of a difference are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pandas as pd
from ecad_dsl.analysis.pareto import front, hypervolume

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array, Indices, interval, resamples
from ecad_dsl.quality.measure import Measured

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Curve:
    """A family's schedules in order of their cost, no two of one cost, with what each prompt got from them."""

    names: tuple[str, ...]
    costs: Array
    """[schedules]"""
    values: Array
    """[schedules, prompts]"""

    @classmethod
    def through(cls, measured: Sequence[Measured]) -> Curve:
        """Through all of these. Where several cost the same it runs through their mean."""
        costs = sorted({m.macs for m in measured})
        at = {cost: [m for m in measured if m.macs == cost] for cost in costs}
        return cls(
            tuple(" or ".join(m.entry.name for m in at[cost]) for cost in costs),
            np.array(costs, float),
            np.array([np.mean([m.rewards for m in at[cost]], axis=0) for cost in costs]),
        )

    @classmethod
    def along_front(cls, measured: Sequence[Measured]) -> Curve:
        """Through those alone that no other one of them beats on these prompts."""
        best = set(front(means(measured))["name"])
        return cls.through([m for m in measured if m.entry.name in best])

    def at_cost(self, cost: float) -> Array | None:
        """What each prompt gets for this cost, or for less where nothing is so dear; None where nothing is so cheap."""
        if cost < self.costs[0]:
            return None
        after = int(np.searchsorted(self.costs, cost, side="right"))
        if after == len(self.costs):
            at_most: Array = self.values[-1]
            return at_most
        low, high = self.costs[after - 1 : after + 1]
        share = (cost - low) / (high - low)
        mixed: Array = (1 - share) * self.values[after - 1] + share * self.values[after]
        return mixed

    def named_at(self, cost: float) -> str:
        """Of what the mixture at this cost is made; nothing where nothing is so cheap."""
        after = int(np.searchsorted(self.costs, cost, side="right"))
        if after in (0, len(self.costs)) or self.costs[after - 1] == cost:
            return "" if after == 0 else self.names[after - 1]
        share = (cost - self.costs[after - 1]) / (self.costs[after] - self.costs[after - 1])
        return f"{1 - share:.0%} {self.names[after - 1]}, {share:.0%} {self.names[after]}"

    def below(self, cost: float) -> tuple[str, Array] | None:
        """The dearest single schedule that costs no more, and what each prompt gets; None where nothing is so cheap."""
        after = int(np.searchsorted(self.costs, cost, side="right"))
        return (self.names[after - 1], self.values[after - 1]) if after else None

    def least_cost(self, quality: Array, chosen: Indices | None = None) -> Array:
        """The least cost at which the mean over prompts reaches each of these qualities; infinite where it never does.

        ``chosen`` [qualities, prompts] are the resamples of prompts that belong to the qualities; all prompts if None.
        """
        reached = self.values.mean(1)[None] if chosen is None else _resampled(self.values, chosen)
        quality = quality - _ROUNDING  # what reaches itself must be found to
        least = np.where(reached[:, 0] >= quality, self.costs[0], inf)
        for after in range(1, len(self.costs)):
            low, high = reached[:, after - 1], reached[:, after]
            with np.errstate(divide="ignore", invalid="ignore"):
                share = (quality - low) / (high - low)
            cost = self.costs[after - 1] + share * (self.costs[after] - self.costs[after - 1])
            least = np.where((low < quality) & (quality <= high), np.minimum(least, cost), least)
        return least


def means(measured: Sequence[Measured]) -> pd.DataFrame:
    """Name, macs and mean reward of each."""
    return pd.DataFrame([{"name": m.entry.name, "macs": m.macs, "reward": m.rewards.mean()} for m in measured])


def claims(measured: Sequence[Measured], ours: Sequence[Measured], name: str = "evolved") -> pd.DataFrame:
    """A row for each of ``measured``: what ``ours``, a family called ``name``, gains over it on the same prompts.

    At equal cost (``ours_macs_share`` is less where nothing of ours is so dear): ``gain`` with ``gain_low`` and
    ``gain_high``, and ``wins``, the share of prompts on which ours is
    better (a tie counts half). At equal quality: ``saved``, the share of its MACs that ours needs less to reach its
    mean reward, with ``saved_low`` and ``saved_high``; minus infinity where it is never reached. The gain over a rival
    that costs less than anything of ours is NaN.

    ``mixture`` says of what ours is made at equal cost. ``single`` is the dearest of ours that costs no more, and
    ``single_gain`` with ``single_low`` and ``single_high`` what that gains alone, without any mixture.
    """
    curve = Curve.through(ours)
    whole = _whole(measured)
    lines: list[dict[str, Any]] = []
    for rival in measured:
        at = curve.at_cost(rival.macs)
        gain = np.full(len(rival.rewards), nan) if at is None else at - rival.rewards
        low, high = (nan, nan) if at is None else interval(gain)
        chosen = resamples(len(rival.rewards))
        single = curve.below(rival.macs)
        alone = np.full(1, nan) if single is None else single[1] - rival.rewards
        single_low, single_high = interval(alone)
        saved = 1 - curve.least_cost(rival.rewards.mean(keepdims=True)) / rival.macs
        spread = 1 - curve.least_cost(_resampled(rival.rewards[None], chosen)[:, 0], chosen) / rival.macs
        lines.append(
            {
                "ours": name,
                "rival": rival.entry.name,
                "family": rival.entry.family or rival.entry.group,
                "macs": rival.macs,
                "macs_share": rival.macs / whole,
                "ours_macs_share": nan if at is None else min(rival.macs, curve.costs[-1]) / whole,
                "rival_reward": rival.rewards.mean(),
                "gain": gain.mean(),
                "gain_low": low,
                "gain_high": high,
                "wins": nan if at is None else ((gain > 0) + 0.5 * (gain == 0)).mean(),
                "saved": saved[0],
                # Infinities have no place between them: an order statistic is one of the resamples.
                "saved_low": np.quantile(spread, 0.025, method="inverted_cdf"),
                "saved_high": np.quantile(spread, 0.975, method="inverted_cdf"),
                "prompts": len(rival.rewards),
                "mixture": curve.named_at(rival.macs),
                "single": "" if single is None else single[0],
                "single_gain": alone.mean(),
                "single_low": single_low,
                "single_high": single_high,
            }
        )
    return pd.DataFrame(lines)


def claim(line: pd.Series[Any], quantity: str = "reward") -> str:
    """A row of :func:`claims` as a sentence that says no more than the figures do."""
    ours, rival, share, own = line["ours"], line["rival"], line["macs_share"], line["ours_macs_share"]
    if isnan(line["gain"]):
        return f"{ours}: nothing costs as little as {rival} ({share:.1%} of the MACs)"
    cost = f"the cost of {rival} ({share:.1%} of the MACs)" if own == share else f"{own:.1%} of the MACs"
    text = (
        f"{ours}: at {cost}, {line['gain']:+.3f} [{line['gain_low']:+.3f}, {line['gain_high']:+.3f}] {quantity}"
        f" on {line['prompts']} held-out prompts"
    )
    if own != share:
        text += f" against {rival} ({share:.1%})"
    if line["gain_low"] <= 0 <= line["gain_high"]:
        text += ", which is not beyond doubt"
    if line["saved"] == -inf:
        return f"{text}; its {quantity} is not reached at any cost"
    return f"{text}; its {quantity} {_at_its_quality(line['saved'], line['saved_low'], line['saved_high'])}"


def _at_its_quality(saved: float, low: float, high: float) -> str:
    """What is saved with its interval; or how much more is spent, with the interval of that."""
    if saved < 0:
        most = "never reached" if low == -inf else f"{-low:.1%}"
        return f"costs {-saved:.1%} [{-high:.1%}, {most}] more MACs than it takes"
    least = "never reached" if low == -inf else f"{low:.1%}"
    return f"with {saved:.1%} [{least}, {high:.1%}] of its MACs saved"


def over_costs(measured: Sequence[Measured], ours: Sequence[Measured], name: str = "evolved") -> pd.DataFrame:
    """A row for each family of ``measured`` with two schedules or more: the mean gain over the costs that both have.

    ``gain`` with ``gain_low`` and ``gain_high`` between the shares ``from_share`` and ``to_share`` of the MACs, each
    cost weighing the same; NaN where the families have no cost in common.
    """
    curve, whole = Curve.through(ours), _whole(measured)
    lines = []
    for family, members in _families(measured).items():
        rival = Curve.along_front(members)
        if len(members) < 2:
            continue
        start, stop = max(curve.costs[0], rival.costs[0]), min(curve.costs[-1], rival.costs[-1])
        gain = _mean_difference(curve, rival, start, stop) if start < stop else np.full(1, nan)
        low, high = interval(gain)
        lines.append(
            {
                "ours": name,
                "family": family,
                "schedules": len(members),
                "from_share": start / whole if start < stop else nan,
                "to_share": stop / whole if start < stop else nan,
                "gain": gain.mean(),
                "gain_low": low,
                "gain_high": high,
            }
        )
    return pd.DataFrame(lines)


def _mean_difference(one: Curve, other: Curve, start: float, stop: float) -> Array:
    """For each prompt, exactly: both curves are straight between these costs."""
    bends = sorted({start, stop, *(c for c in [*one.costs, *other.costs] if start < c < stop)})
    areas = []
    for low, high in pairwise(bends):
        ends = [_at(one, cost) - _at(other, cost) for cost in (low, high)]
        areas.append((ends[0] + ends[1]) / 2 * (high - low))
    total: Array = np.sum(areas, axis=0) / (stop - start)
    return total


def _at(curve: Curve, cost: float) -> Array:
    value = curve.at_cost(cost)
    assert value is not None
    return value


def over_runs(found: pd.DataFrame) -> pd.DataFrame:
    """Claims of several runs (rows of :func:`claims` with different ``ours``), a row for each rival.

    ``gain`` is the mean over runs, ``worst`` and ``best`` are those of single runs; ``ahead`` counts runs with a gain,
    ``surely`` those whose interval lies above zero. Runs that cost more at the least do not count.
    """
    known = found[found["gain"].notna()].assign(
        ahead=lambda table: table["gain"] > 0, surely=lambda table: table["gain_low"] > 0
    )
    return (
        known.groupby("rival", sort=False)
        .agg(
            macs_share=("macs_share", "first"), runs=("ours", "size"), gain=("gain", "mean"), worst=("gain", "min"),
            best=("gain", "max"), ahead=("ahead", "sum"), surely=("surely", "sum"),
        )
        .reset_index()
    )  # fmt: skip


def wins(measured: Sequence[Measured]) -> pd.DataFrame:
    """On which share of the prompts the row's schedule is better than the column's; a tie counts half."""
    names = [m.entry.name for m in measured]
    rewards = np.array([m.rewards for m in measured])
    shares = [((one > rewards) + 0.5 * (one == rewards)).mean(1) for one in rewards]
    return pd.DataFrame(shares, index=pd.Index(names, name="name"), columns=names)


def dominated(measured: Sequence[Measured]) -> pd.DataFrame:
    """For each schedule those that beat it: no more MACs and no less mean reward, and better in one of the two.

    ``surely`` are those among them whose gain in reward has an interval above zero. Both are names joined by commas.
    """
    lines = []
    for m in measured:
        beating = [
            other
            for other in measured
            if other.macs <= m.macs
            and other.rewards.mean() >= m.rewards.mean()
            and (other.macs < m.macs or other.rewards.mean() > m.rewards.mean())
        ]
        surely = [other for other in beating if interval(other.rewards - m.rewards)[0] > 0]
        by, sure = (", ".join(other.entry.name for other in group) for group in (beating, surely))
        lines.append({"name": m.entry.name, "macs": m.macs, "dominated_by": by, "surely": sure})
    return pd.DataFrame(lines)


def hypervolumes(measured: Sequence[Measured], worst_reward: float | None = None) -> pd.DataFrame:
    """For each family the area that its front dominates, in reward times share of the MACs of no cache.

    The reference point is the cost of no cache and ``worst_reward``, if not given the lowest mean reward of anything
    that was not evolved. Both stand in every row. In each resample of prompts the front is found anew.
    """
    whole = _whole(measured)
    if worst_reward is None:
        worst_reward = min(m.rewards.mean() for m in measured if m.entry.group != "evolved")
    lines = []
    for family, members in _families(measured).items():
        shares = np.array([m.macs / whole for m in members])
        rewards = np.array([m.rewards for m in members])
        table = pd.DataFrame({"macs": shares, "reward": rewards.mean(1)})
        spread = areas(shares, _resampled(rewards, resamples(rewards.shape[1])), 1.0, worst_reward)
        lines.append(
            {
                "family": family,
                "schedules": len(members),
                "hypervolume": hypervolume(table, 1.0, worst_reward),
                "low": np.quantile(spread, 0.025),
                "high": np.quantile(spread, 0.975),
                "worst_macs_share": 1.0,
                "worst_reward": worst_reward,
            }
        )
    return pd.DataFrame(lines).sort_values("hypervolume", ascending=False, ignore_index=True)


def areas(costs: Array, values: Array, worst_cost: float, worst_value: float) -> Array:
    """Hypervolumes of many sets of points that share their costs: ``values`` [sets, points]."""
    order = np.argsort(costs, kind="stable")
    ceiling = np.maximum.accumulate(np.maximum(values[:, order], worst_value), axis=1)
    sides = np.maximum(0, worst_cost - costs[order])
    gains = np.diff(np.concatenate([np.full((len(values), 1), worst_value), ceiling], axis=1), axis=1)
    total: Array = gains @ sides
    return total


def _families(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    families: dict[str, list[Measured]] = {}
    for m in measured:
        families.setdefault(m.entry.family or m.entry.group, []).append(m)
    return families


def _whole(measured: Sequence[Measured]) -> int:
    """MACs of no cache."""
    whole = next((m.macs for m in measured if m.entry.group == "none"), None)
    if whole is None:
        raise EcadError("a comparison needs the schedule without a cache among what was measured: its group is `none`")
    return whole


def _resampled(values: Array, chosen: Indices) -> Array:
    """Means of ``values`` [schedules, prompts] over resamples of the prompts: [resamples, schedules]."""
    times = np.zeros(chosen.shape)  # that each prompt was chosen
    np.add.at(times, (np.arange(len(chosen))[:, None], chosen), 1)
    found: Array = times @ values.T / chosen.shape[1]
    return found
