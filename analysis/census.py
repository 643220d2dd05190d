"""What schedules have in common: which rules survive evolution, and where and when a front recomputes.

Models differ in blocks and steps, so that schedules of several are compared on a common grid: tenths of the steps,
quarters of the blocks, and the portable roles self, cross and ffn. Step 0 takes no part: nobody has a choice there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from ecad_dsl.analysis import frames

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.schedule import Schedule

ROLES = ("self", "cross", "ffn")
TIMES, DEPTHS = 10, 4
TRAITS = ("action", "components", "period", "steps", "blocks")


def traits(rules: pd.DataFrame, spec: ModelSpec, steps: int) -> pd.DataFrame:
    """Rows key, trait, value: what each schedule's rules are like. ``rules`` is that of :class:`frames.Frames`.

    Traits are the action, the components, the period (``none`` without one), and the windows of steps and of blocks
    from the first to the last selected, rounded to quarters (``25%-100%``).
    """
    table = rules[rules["steps"].gt(0) & rules["cells"].gt(0)]
    values = {
        "action": table["action"].astype(str),
        "components": table["components"],
        "period": table["period"].astype("object").map(lambda period: "none" if pd.isna(period) else str(period)),
        "steps": _windows(table["first_step"], table["last_step"], steps),
        "blocks": _windows(table["first_block"], table["last_block"], spec.blocks),
    }
    parts = [pd.DataFrame({"key": table["key"], "trait": trait, "value": values[trait]}) for trait in TRAITS]
    return pd.concat(parts).drop_duplicates(ignore_index=True)


def _windows(first: pd.Series[int], last: pd.Series[int], count: int) -> pd.Series[str]:
    starts, stops = (first * 4 / count).round().astype(int) * 25, ((last + 1) * 4 / count).round().astype(int) * 25
    return starts.astype(str) + "%-" + stops.astype(str) + "%"


def survival(found: frames.Frames) -> pd.DataFrame:
    """A row for each trait and value: how common it is among all candidates of a run, and on its search front.

    ``all`` and ``front`` count schedules, ``all_share`` and ``front_share`` are of those that could be measured and of
    the front. ``lift`` is the ratio of both: above 1, the trait survives more often than it is tried. The first
    population counts: its rules were tried, too.
    """
    measured = found.candidates[found.candidates["error"].isna()]
    keys = {"all": set(measured["key"]), "front": set(found.front["key"])}
    seen = traits(found.rules, found.spec, found.steps)
    counts = {
        name: seen[seen["key"].isin(chosen)].groupby(["trait", "value"])["key"].nunique()
        for name, chosen in keys.items()
    }
    table = pd.DataFrame(counts).fillna(0).astype("int64")
    for name, chosen in keys.items():
        table[f"{name}_share"] = table[name] / max(1, len(chosen))
    table["lift"] = (table["front_share"] / table["all_share"]).replace(np.inf, np.nan)
    order = pd.Categorical(table.index.get_level_values("trait"), TRAITS, ordered=True)
    return (
        table.reset_index()
        .assign(trait=order)
        .sort_values(["trait", "front"], ascending=[True, False], ignore_index=True)
    )


def recompute_map(schedules: Sequence[Schedule]) -> pd.DataFrame:
    """For each cell the share of schedules that recompute it: step, stack, component, block, recompute.

    Raises:
        EcadError: there is no schedule, or they are not for one model and one number of steps.
    """
    if not schedules:
        raise EcadError("there are no schedules to count")
    if len({(schedule.spec.cells, schedule.steps) for schedule in schedules}) > 1:
        raise EcadError("these schedules are for different models or numbers of steps; `profile` compares such")
    tables = [frames.cells(schedule) for schedule in schedules]
    return tables[0].assign(recompute=np.mean([table["recompute"] for table in tables], axis=0))


def grid(schedules: Sequence[Schedule]) -> Array:
    """Share recomputed [times, depths, roles] over all schedules, on the common grid; NaN where there is nothing."""
    shares = np.array([_grid(schedule) for schedule in schedules])
    return _divided(np.nansum(shares, axis=0), np.isfinite(shares).sum(0))


def _divided(total: Array, count: Array) -> Array:
    shares: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return shares


def _grid(schedule: Schedule) -> Array:
    total, count = (np.zeros((TIMES, DEPTHS, len(ROLES))) for _ in range(2))
    spec, first = schedule.spec, 0
    time = ((np.arange(schedule.steps) + 0.5) * TIMES / schedule.steps).astype(int)
    for stack, mask in schedule.to_numpy().items():
        depth = ((first + np.arange(mask.shape[1]) + 0.5) * DEPTHS / spec.blocks).astype(int)
        first += mask.shape[1]
        for role, name in enumerate(ROLES):
            chosen = list((spec.select(name) or {}).get(stack, ()))
            if chosen:
                part = mask[1:, :, chosen]
                np.add.at(total[:, :, role], (time[1:, None], depth[None]), part.sum(2))
                np.add.at(count[:, :, role], (time[1:, None], depth[None]), len(chosen))
    return _divided(total, count)


def profile(schedules: Sequence[Schedule]) -> pd.DataFrame:
    """Rows axis, place, recompute: the share recomputed along each axis (``steps``, ``blocks``, ``component``)."""
    shares = grid(schedules)
    places = {
        "steps": [f"{100 * i // TIMES}-{100 * (i + 1) // TIMES}%" for i in range(TIMES)],
        "blocks": [f"{100 * i // DEPTHS}-{100 * (i + 1) // DEPTHS}%" for i in range(DEPTHS)],
        "component": list(ROLES),
    }
    lines = []
    for number, (axis, names) in enumerate(places.items()):
        for place, part in zip(names, np.moveaxis(shares, number, 0), strict=True):
            known = part[np.isfinite(part)]
            lines.append({"axis": axis, "place": place, "recompute": known.mean() if known.size else np.nan})
    return pd.DataFrame(lines)


def agreement(one: Sequence[Schedule], other: Sequence[Schedule]) -> pd.DataFrame:
    """How alike two sets of schedules are: rows axis, correlation, difference.

    ``correlation`` is Pearson's over the places of the grid that both models have, NaN where one side is the same
    everywhere; ``difference`` is the mean absolute one. ``all`` is over the whole grid, other rows along one axis.
    """
    lines = [_alike("all", grid(one).ravel(), grid(other).ravel())]
    mine, theirs = profile(one), profile(other)
    for axis in mine["axis"].unique():
        sides = [table.loc[table["axis"] == axis, "recompute"].to_numpy(float) for table in (mine, theirs)]
        lines.append(_alike(str(axis), *sides))
    return pd.DataFrame(lines)


def _alike(axis: str, one: Array, other: Array) -> dict[str, str | float]:
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    varied = known.sum() > 2 and one.std() > 1e-12 and other.std() > 1e-12
    correlation = float(np.corrcoef(one, other)[0, 1]) if varied else float("nan")
    return {"axis": axis, "correlation": correlation, "difference": float(np.abs(one - other).mean())}
