"""What programs mean: the worked cases of the language's page, and a naive interpreter as the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Program
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import Schedule, compile, parse
from tests.schedule.interpreter import Cell, Interpreter
from tests.strategies import programs_for

PIXART = load_spec("pixart-alpha")
FLUX = load_spec("flux.1-dev")
SMALL_PIXART = PIXART.resized({"blocks": 5})
SMALL_FLUX = FLUX.resized({"double": 3, "single": 4})
EVERY = list(range(20))
EVEN = EVERY[::2]


def steps_of(schedule: Schedule, component: str, block: int, stack: str = "blocks") -> list[int]:
    """The steps at which a cell is recomputed."""
    layout = schedule.spec.stack(stack)
    assert layout is not None
    index = [c.name for c in layout.components].index(component)
    bit = schedule.spec.offsets[stack] + block * len(layout.components) + index
    return [step for step, row in enumerate(schedule.rows) if row >> bit & 1]


def cells(schedule: Schedule) -> set[Cell]:
    return {
        (step, stack.name, block, component.name)
        for stack in schedule.spec.stacks
        for block in range(stack.blocks)
        for component in stack.components
        for step in steps_of(schedule, component.name, block, stack.name)
    }


def pixart(text: str) -> dict[str, list[list[int]]]:
    """For each component the recomputed steps of every block."""
    schedule = compile(parse(text), "pixart-alpha", 20)
    return {name: [steps_of(schedule, name, b) for b in range(28)] for name in ("self", "cross", "ffn")}


def everywhere(steps: list[int]) -> list[list[int]]:
    return [steps] * 28


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("cache all every 3 steps", dict.fromkeys(("self", "cross", "ffn"), everywhere([0, 3, 6, 9, 12, 15, 18]))),
        (
            "cache ffn in blocks 10-20 every 2 steps",
            {"ffn": [EVEN if 10 <= block <= 20 else EVERY for block in range(28)]},
        ),
        ("cache self every 4 steps offset 1 from step 2", {"self": everywhere([0, 1, 3, 7, 11, 15, 19])}),
        ("cache cross from step 5 to 12", {"cross": everywhere([0, 1, 2, 3, 4, 5, *range(13, 20)])}),
        ("reuse cross from step 10", {"cross": everywhere(list(range(10)))}),
        ("reuse ffn every 2 steps at steps 3-9", {"ffn": everywhere([s for s in EVERY if s not in (3, 5, 7, 9)])}),
        ("reuse all", dict.fromkeys(("self", "cross", "ffn"), everywhere([0]))),
        (
            "cache all every 2 steps\nrecompute ffn in last 4 blocks at odd steps",
            {
                "self": everywhere(EVEN),
                "cross": everywhere(EVEN),
                "ffn": [EVERY if block >= 24 else EVEN for block in range(28)],
            },
        ),
    ],
)
def test_worked_cases(text: str, expected: dict[str, list[list[int]]]) -> None:
    assert pixart(text) == dict.fromkeys(("self", "cross", "ffn"), everywhere(EVERY)) | expected


@pytest.mark.parametrize("spec", [SMALL_PIXART, SMALL_FLUX], ids=["pixart", "flux"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_painters_order_against_the_naive_interpreter(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 9), label="steps")
    program = data.draw(programs_for(spec, steps), label="program")
    assert cells(compile(program, spec, steps)) == Interpreter(program, spec, steps).recomputed()


@given(programs_for(SMALL_FLUX, 6), programs_for(SMALL_FLUX, 6))
@settings(max_examples=20, deadline=None)
def test_an_all_recompute_rule_wipes_out_what_came_before(first: Program, second: Program) -> None:
    rules = (*first.rules, *parse("recompute all").statements)
    lets = second.statements[:3]
    wiped = Program((*lets, *rules, *second.rules))
    assert compile(wiped, SMALL_FLUX, 6) == compile(second, SMALL_FLUX, 6)


def test_bare_blocks_count_over_all_stacks() -> None:
    schedule = compile(parse("reuse attn in blocks 18-19"), "flux.1-dev", 4)
    assert steps_of(schedule, "attn", 18, "double") == [0]
    assert steps_of(schedule, "attn", 0, "single") == [0]
    assert schedule.recomputed == 4 * FLUX.cells - 2 * 3


def test_even_blocks_count_over_all_stacks_too() -> None:
    schedule = compile(parse("reuse all in even blocks"), "flux.1-dev", 2)
    assert steps_of(schedule, "attn", 18, "double") == [0]
    assert steps_of(schedule, "attn", 0, "single") == [0, 1]
    assert steps_of(schedule, "attn", 1, "single") == [0]


@pytest.mark.parametrize(
    ("text", "recomputed"),
    [
        ("reuse attn1", 20),
        ("reuse self in blocks 25%-75%", 10),
        ("reuse self in blocks 50%-100% from step 50%", 5),
        ("reuse self, self in blocks 3-9 by 3 and blocks 6", 3),
    ],
)
def test_selections(text: str, recomputed: int) -> None:
    spec = PIXART.resized({"blocks": 20 if "blocks" not in text or "%" in text else 28})
    schedule = compile(parse(text), spec, 2)
    expected = recomputed if "from" not in text else recomputed * 2
    assert 2 * spec.cells - schedule.recomputed == expected


def test_percentages_are_exact_at_the_edge() -> None:
    # Index 3 of 10 has its middle at 35 %: it belongs to both ranges, and to neither a hair away from it.
    spec = PIXART.resized({"blocks": 10})
    for text, missing in [("0%-35%", 4), ("35%-100%", 7), ("0%-34.9999999999999%", 3), ("35%", 1)]:
        schedule = compile(parse(f"reuse ffn in blocks {text}"), spec, 2)
        assert 2 * spec.cells - schedule.recomputed == missing, text


def test_aliases_of_one_stack_select_only_there() -> None:
    schedule = compile(parse("reuse single_attn"), "flux.1-dev", 2)
    assert 2 * FLUX.cells - schedule.recomputed == 38


def test_names_stand_for_names() -> None:
    text = "let a = blocks 3-5\nlet b = a and block 9\nlet c = b\nreuse ffn in c"
    assert compile(parse(text), "pixart-alpha", 2) == compile(parse("reuse ffn in blocks 3-5, 9"), "pixart-alpha", 2)


def test_masks_have_the_shape_of_the_spec_and_lead_back() -> None:
    schedule = compile(parse("cache all every 2 steps\nreuse out in last 3 blocks"), "flux.1-dev", 6)
    assert {name: tuple(mask.shape) for name, mask in schedule.masks.items()} == {
        "double": (6, 19, 3),
        "single": (6, 38, 3),
    }
    assert schedule.masks["single"][2, :, 2].tolist() == [True] * 35 + [False] * 3
    assert Schedule.from_masks(FLUX, schedule.masks) == schedule


@given(st.lists(st.integers(0, (1 << FLUX.cells) - 1), min_size=1, max_size=4))
def test_schedules_come_back_from_tensors_arrays_and_lists(rows: list[int]) -> None:
    schedule = Schedule(FLUX, tuple(rows))
    arrays = schedule.to_numpy()
    for step, row in enumerate(schedule.rows):
        cells = [bool(bit) for stack in FLUX.stacks for bit in arrays[stack.name][step].ravel()]
        assert cells == [bool(row >> bit & 1) for bit in range(FLUX.cells)]
    lists = {name: array.tolist() for name, array in arrays.items()}
    numbers = {name: array.astype("int64") for name, array in arrays.items()}
    for masks in (schedule.masks, arrays, lists, numbers):
        assert Schedule.from_masks(FLUX, masks) == schedule


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, "exactly these stacks: double, single"),
        ({"double": [], "single": []}, "must have the shape"),
        ({"double": np.ones((0, 19, 3), bool), "single": np.ones((0, 38, 3), bool)}, "at least one step"),
        ({"double": np.ones((2, 19, 3), bool), "single": np.ones((1, 38, 3), bool)}, "the same number of steps"),
        ({"double": np.ones((2, 19, 3), bool), "single": np.ones((2, 38, 2), bool)}, r"\(2, 38, 3\), not \(2, 38, 2\)"),
        ({"double": [[True], [True, False]], "single": []}, "must be an array"),
        ({"double": torch.ones(2, 19, 3, dtype=torch.bfloat16), "single": []}, "must be an array"),
        ({"double": np.full((1, 19, 3), 2), "single": []}, "must hold booleans"),
        ({"double": np.full((1, 19, 3), "yes"), "single": []}, "must hold booleans"),
        ({"double": np.ones((1, 19, 3)), "single": []}, "must hold booleans"),
    ],
)
def test_what_are_no_masks_is_refused(masks: dict[str, Any], message: str) -> None:
    with pytest.raises(EcadError, match=message):
        Schedule.from_masks(FLUX, masks)


def test_one_step_is_recomputed() -> None:
    assert compile(parse("reuse all"), "pixart-alpha", 1).recomputed == PIXART.cells
