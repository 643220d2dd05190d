"""What every component does at every step, worked out once so that the forward pass only looks it up."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain

from ecad_dsl.schedule.schedule import Schedule

RUN = 0
"""Recompute; nobody reads the output later, so it is not kept."""
RUN_STORE = 1
"""Recompute and keep the output: a later step reads it before the next recompute."""
READ = 2
"""Reuse the kept output."""
READ_FREE = 3
"""Reuse the kept output for the last time, and let go of it."""


@dataclass(frozen=True)
class Plan:
    """``ops[cell][step]`` is what a cell does; cells are counted as the bits of a row of ``Schedule.rows``."""

    ops: tuple[bytes, ...]

    @property
    def held(self) -> tuple[int, ...]:
        """For each step, the number of outputs that are still kept when it ends (one transformer call a step)."""
        return tuple(sum(op in (RUN_STORE, READ) for op in step) for step in zip(*self.ops, strict=True))

    @property
    def peak(self) -> int:
        """The most outputs kept at any instant, cells taken in the order of the row."""
        change = {RUN: 0, RUN_STORE: 1, READ: 0, READ_FREE: -1}
        in_order = chain.from_iterable(zip(*self.ops, strict=True))
        return max(accumulate((change[op] for op in in_order), initial=0))


def plan(schedule: Schedule) -> Plan:
    """The plan of a schedule. Pure, and free of torch."""
    return Plan(tuple(_cell_ops(schedule.rows, cell) for cell in range(schedule.spec.cells)))


def _cell_ops(rows: tuple[int, ...], cell: int) -> bytes:
    """Backwards through the steps, so that whether a later step reads the output is known when it is met."""
    ops = bytearray(len(rows))
    read_later = False
    for step in reversed(range(len(rows))):
        recompute = rows[step] >> cell & 1
        if recompute:
            ops[step] = RUN_STORE if read_later else RUN
        else:
            ops[step] = READ if read_later else READ_FREE
        read_later = not recompute
    return bytes(ops)
