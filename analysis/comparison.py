"""All tables of one comparison, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from ecad_dsl.analysis.claims import claims, dominated, hypervolumes, over_costs, over_runs, wins
from ecad_dsl.analysis.compare import table
from ecad_dsl.analysis.frames import Frames

from ecad_dsl.evolution.store import HELD_OUT
from ecad_dsl.quality.measure import Entry, Measured
from ecad_dsl.quality.prompts import PromptSet


def compared(measured: Sequence[Measured]) -> dict[str, pd.DataFrame]:
    """By name: ``table``, ``claims``, ``families``, ``runs``, ``hypervolumes``, ``dominated``, ``wins``.

    Each family of the group ``evolved`` claims against everything that is not evolved. ``runs`` puts several such
    families together; it is empty where there is one.
    """
    rivals = [m for m in measured if m.entry.group != "evolved"]
    ours: dict[str, list[Measured]] = {}
    for m in measured:
        if m.entry.group == "evolved":
            ours.setdefault(m.entry.family or m.entry.group, []).append(m)
    found = [claims(rivals, members, family) for family, members in ours.items()]
    claimed = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    families = [over_costs(rivals, members, family) for family, members in ours.items()]
    return {
        "table": table(measured),
        "claims": claimed,
        "families": pd.concat(families, ignore_index=True) if families else pd.DataFrame(),
        "runs": over_runs(claimed) if len(ours) > 1 else pd.DataFrame(),
        "hypervolumes": hypervolumes(measured),
        "dominated": dominated(measured),
        "wins": wins(measured),
    }


def measured_in(
    run: Frames, quantity: str = "reward", prompt_set: str = HELD_OUT, family: str = "evolved"
) -> list[Measured]:
    """What a run keeps of a front on a prompt set, to be compared with what else was measured on these prompts.

    On held-out prompts that is its final front, on others its search front; without those of it that were not measured
    on every prompt of the set.
    """
    known = run.evaluations
    values = known[(known["quantity"] == quantity) & (known["prompt_set"] == prompt_set)]
    by_key = {str(key): lines.sort_values("position")["value"] for key, lines in values.groupby("key")}
    whole = max(map(len, by_key.values()), default=0)
    found = []
    # Nothing but the final front is measured on held-out prompts.
    front = run.candidates.sort_values("macs") if prompt_set == HELD_OUT else run.front
    for line in front.to_dict("records"):
        own = by_key.get(line["key"])
        if own is not None and len(own) == whole:
            entry = Entry(line["name"], "evolved", run.schedule(line["program"]), family)
            found.append(Measured(entry, line["macs"], own.to_numpy(float)))
    return found


def rewards(measured: Sequence[Measured], prompts: PromptSet) -> pd.DataFrame:
    """A row for each schedule, prompt and seed: name, group, family, macs, position, prompt, seed, reward."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "name": m.entry.name, "group": m.entry.group, "family": m.entry.family or m.entry.group,
                    "macs": m.macs, "position": range(len(prompts)), "prompt": prompts.prompts,
                    "seed": prompts.seeds, "reward": m.rewards,
                }
            )
            for m in measured
        ],
        ignore_index=True,
    )  # fmt: skip
