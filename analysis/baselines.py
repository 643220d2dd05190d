"""The baselines that every comparison holds (all that run on the library's own schedules)."""

from __future__ import annotations

from ecad_dsl import schedules
from ecad_dsl.models import ModelSpec
from ecad_dsl.quality.measure import Entry
from ecad_dsl.schedule import CompileError, compile

FEWER_STEPS = (0.25, 0.35, 0.5, 0.6, 0.7, 0.8)
"""Shares of the step count at which the sampler without a cache runs: 5, 7, 10, 12, 14, 16 of 20."""


def baselines(spec: ModelSpec, steps: int) -> list[Entry]:
    """None, the library's baselines that this model has components for, and fewer steps."""
    everything = schedules.load("none")
    entries = [Entry("none", "none", compile(everything, spec, steps))]
    for name in schedules.names():
        if name == "none":
            continue
        try:
            schedule = compile(schedules.load(name), spec, steps)
        except CompileError:
            continue
        # TGATE on a model without cross-attention does nothing, so it is no baseline there.
        if schedule.rows != entries[0].schedule.rows:
            entries.append(Entry(name, "baseline", schedule))
    counts = sorted({max(1, round(share * steps)) for share in FEWER_STEPS} - {steps})
    entries += [Entry(f"{n} steps", "fewer steps", compile(everything, spec, n)) for n in counts]
    return entries
