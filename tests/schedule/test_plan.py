from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl.models import Component, ModelSpec, Stack
from ecad_dsl.schedule.plan import READ, READ_FREE, RUN, RUN_STORE, SKIP, STORE, plan
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


FED = ModelSpec(
    "fed", "fed", "Fed", (Stack("blocks", "blocks", 2, (Component("a", "a", feeds="b"), Component("b", "b"))),)
)


@given(rows, st.sampled_from([SPEC, FED]))
def test_running_the_plan_computes_reads_and_keeps_what_is_needed_and_nothing_else(
    rows: tuple[int, ...], spec: ModelSpec
) -> None:
    schedule = Schedule(spec, rows)
    made = plan(schedule)
    sizes = {0: 1, 2: 10, 1: 100, 3: 1000}
    kept: dict[int, int] = {}
    last_read: dict[tuple[int, int], int] = {}
    computed = []
    most = 0
    for step, row in enumerate(schedule.rows):
        for cell in sizes:
            op = made.ops[cell][step]
            recompute = bool(row >> cell & 1)
            read_now = spec is SPEC or cell % 2 == 1 or bool(row >> (cell + 1) & 1)
            if op in (RUN, RUN_STORE, STORE):
                assert recompute
                computed.append((cell, step))
            if op in (READ, READ_FREE):
                assert not recompute
            assert (op in (RUN, RUN_STORE, READ, READ_FREE)) == read_now
            if op in (RUN_STORE, STORE):
                assert cell not in kept
                kept[cell] = step
            if op in (RUN, RUN_STORE):
                last_read[cell, step] = step
            if op in (READ, READ_FREE):
                # What is read is the output of the last step that the masks recompute.
                assert kept[cell] == max(s for s in range(step) if schedule.rows[s] >> cell & 1)
                last_read[cell, kept[cell]] = step
            if op == READ_FREE:
                del kept[cell]
            most = max(most, sum(sizes[c] for c in kept))
    assert not kept
    assert set(last_read) == set(computed)
    assert made.peak(sizes) == most


@given(rows)
def test_what_feeds_several_cells_runs_where_any_of_them_does(rows: tuple[int, ...]) -> None:
    made = plan(Schedule(FED, rows))
    for step, op in enumerate(made.needed((0, 1))):
        runs = any(made.ops[cell][step] in (RUN, RUN_STORE, STORE) for cell in (0, 1))
        assert op == (RUN if runs else SKIP)
