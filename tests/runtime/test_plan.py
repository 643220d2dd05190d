from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl.models import Component, ModelSpec, Stack
from ecad_dsl.runtime.plan import READ, READ_FREE, RUN, RUN_STORE, plan
from ecad_dsl.schedule.schedule import Schedule

CELLS = 4
SPEC = ModelSpec("tiny", "tiny", "Tiny", (Stack("blocks", "blocks", 2, (Component("a", "a"), Component("b", "b"))),))
rows = st.lists(st.integers(0, 2**CELLS - 1), min_size=1, max_size=9).map(tuple)


@pytest.mark.parametrize(
    ("recompute", "ops"),
    [
        ("1", [RUN]),
        ("111", [RUN, RUN, RUN]),
        ("100", [RUN_STORE, READ, READ_FREE]),
        ("1011001", [RUN_STORE, READ_FREE, RUN, RUN_STORE, READ, READ_FREE, RUN]),
    ],
)
def test_an_output_is_kept_from_its_recompute_to_its_last_read(recompute: str, ops: list[int]) -> None:
    schedule = Schedule(SPEC, tuple(2**CELLS - 1 if bit == "1" else 0 for bit in recompute))
    assert [list(cell) for cell in plan(schedule).ops] == [ops] * CELLS


@given(rows)
def test_running_the_plan_reads_only_what_is_kept_and_keeps_only_what_is_read(rows: tuple[int, ...]) -> None:
    schedule = Schedule(SPEC, rows)
    made = plan(schedule)
    kept: set[int] = set()
    read: set[int] = set()
    most = 0
    for step, row in enumerate(schedule.rows):
        for cell in range(CELLS):
            op = made.ops[cell][step]
            assert (op in (RUN, RUN_STORE)) == bool(row >> cell & 1)
            if op == RUN_STORE:
                assert cell not in kept
                kept.add(cell)
            elif op in (READ, READ_FREE):
                assert cell in kept
                read.add(cell)
            if op == READ_FREE:
                kept.remove(cell)
            most = max(most, len(kept))
        assert made.held[step] == len(kept)
    assert not kept
    assert made.peak == most
