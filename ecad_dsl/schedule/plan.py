"""What every component does at every step, worked out once so that the forward pass only looks it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ecad_dsl.schedule.schedule import Schedule

RUN = 0
"""Recompute; nobody reads the output later, so it is not kept."""
RUN_STORE = 1
"""Recompute and keep the output: a later step reads it before the next recompute."""
READ = 2
"""Reuse the kept output."""
READ_FREE = 3
"""Reuse the kept output for the last time, and let go of it."""
STORE = 4
"""As RUN_STORE, but at this step nobody reads it: the only reader is reused."""
SKIP = 5
"""Neither recompute nor reuse: the only reader is reused, and no later step reads it from here."""

_KEPT = {RUN: 0, RUN_STORE: 1, READ: 0, READ_FREE: -1, STORE: 1, SKIP: 0}
"""What an op adds to the outputs kept."""
_RUNNING = frozenset((RUN, RUN_STORE, STORE))


@dataclass(frozen=True)
class Plan:
    """``ops[cell][step]`` is what a cell does; cells are counted as the bits of a row of ``Schedule.rows``."""

    ops: tuple[bytes, ...]

    def peak(self, sizes: Mapping[int, int]) -> int:
        """The most that is kept at any instant, where each step is one transformer call.

        ``sizes`` has the size of each cell's output, in the order in which the cells run.
        """
        steps = range(len(self.ops[0]))
        changes = (_KEPT[self.ops[cell][step]] * size for step in steps for cell, size in sizes.items())
        return max(accumulate(changes, initial=0))

    def needed(self, cells: Sequence[int]) -> bytes:
        """For each step, RUN where any of the cells is computed and SKIP where none is: for what feeds only them."""
        steps = zip(*(self.ops[cell] for cell in cells), strict=True)
        return bytes(RUN if _RUNNING.intersection(step) else SKIP for step in steps)


def plan(schedule: Schedule) -> Plan:
    """The plan of a schedule. Pure, and free of torch."""
    readers = schedule.spec.readers
    return Plan(tuple(_cell_ops(schedule.rows, cell, readers.get(cell)) for cell in range(schedule.spec.cells)))


def _cell_ops(rows: tuple[int, ...], cell: int, reader: int | None) -> bytes:
    """Backwards through the steps, so that whether a later step reads the output is known when it is met."""
    ops = bytearray(len(rows))
    read_later = False
    for step in reversed(range(len(rows))):
        read_now = reader is None or rows[step] >> reader & 1
        if rows[step] >> cell & 1:
            ops[step] = (RUN_STORE if read_later else RUN) if read_now else (STORE if read_later else SKIP)
            read_later = False
        elif read_now:
            ops[step] = READ if read_later else READ_FREE
            read_later = True
        else:
            ops[step] = SKIP
    return bytes(ops)
