"""Decompiling: always the same schedule, the obvious program where there is one, the same program every time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Program, format, parse
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import Schedule, compile, cost, import_json, lint, load
from ecad_dsl.schedule.decompile import decompile
from tests.strategies import programs_for

ROOT = Path(__file__).parents[2]
PIXART = load_spec("pixart-alpha")
FLUX = load_spec("flux.1-dev")
SMALL_PIXART = PIXART.resized({"blocks": 5})
SMALL_FLUX = FLUX.resized({"double": 3, "single": 4})
SMALL = pytest.mark.parametrize("spec", [SMALL_PIXART, SMALL_FLUX], ids=["pixart", "flux"])


def assert_same(found: Program, schedule: Schedule) -> None:
    """Also as text: what is found can be written down. Of what the linter knows, only outputs that nobody reads."""
    assert compile(parse(format(found)), schedule.spec, schedule.steps) == schedule
    assert {finding.code for finding in lint(found, schedule.spec, schedule.steps)} <= {"W309"}


@SMALL
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_any_schedule_comes_back(spec: ModelSpec, data: st.DataObject) -> None:
    row = st.integers(0, (1 << spec.cells) - 1)
    schedule = Schedule(spec, tuple(data.draw(st.lists(row, min_size=1, max_size=9))))
    assert_same(decompile(schedule, effort=0.05), schedule)


@SMALL
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_any_program_comes_back(spec: ModelSpec, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 15))
    schedule = compile(data.draw(programs_for(spec, steps)), spec, steps)
    assert_same(decompile(schedule, effort=0.05), schedule)


@pytest.mark.parametrize(
    ("text", "rules", "literals"),
    [
        ("", 0, 0),
        ("cache all every 3 steps", 1, 2),
        ("reuse cross from step 10", 1, 2),
        ("reuse all", 1, 1),
        ("cache ffn in blocks 2-26 by 3 every 2 steps", 1, 5),
        ("cache all in blocks 8-20 every 3 steps", 1, 4),
        ("cache all every 2 steps\nreuse cross from step 12", 2, 4),
        ("cache all every 3 steps\nreuse cross from step 12\nrecompute all in last 2 blocks", 3, 6),
    ],
)
def test_families(text: str, rules: int, literals: int) -> None:
    schedule = compile(parse(text), PIXART, 20)
    found = decompile(schedule)
    assert_same(found, schedule)
    assert found.length <= (rules, literals)


@pytest.mark.parametrize(
    "text",
    [
        "cache all every 4 steps",
        "cache attn in double blocks 3-9 every 2 steps",
        "reuse ffn_image, mlp in blocks 10-40 by 2 from step 5",
        "cache all every 3 steps\nrecompute out in first 6 single blocks",
    ],
)
def test_families_of_two_stacks(text: str) -> None:
    planted = parse(text)
    schedule = compile(planted, FLUX, 20)
    found = decompile(schedule)
    assert_same(found, schedule)
    assert found.length[0] <= planted.length[0]


@pytest.mark.parametrize("path", sorted((ROOT / "schedules" / "paper").glob("*.ecad")), ids=lambda path: path.stem)
def test_the_library_has_the_released_schedules_cell_for_cell(path: Path) -> None:
    program = load(path)
    released = import_json(ROOT / "tests" / "data" / "paper" / str(program.meta["released_as"]), program.model)
    assert compile(program) == released
    assert cost(released, 256, 256).macs == program.meta["macs"]


@pytest.mark.parametrize(
    ("name", "most"), [("pixart_alpha_256_fast", 45), ("pixart_sigma_256_fast", 38), ("flux_256_fast", 40)]
)
def test_released_schedules_come_back_as_short_programs(name: str, most: int) -> None:
    """Without any search: the first program found is short enough already."""
    schedule = import_json(ROOT / "tests" / "data" / "paper" / f"{name}.json")
    found = decompile(schedule, effort=0)
    assert_same(found, schedule)
    assert found.length[0] <= most


def test_the_same_program_every_time() -> None:
    schedule = compile(
        parse("cache all every 3 steps\nreuse ffn at steps 4, 8, 9\nrecompute self at steps 7-9"), PIXART, 20
    )
    assert decompile(schedule) == decompile(schedule)
    assert decompile(schedule, seed=1) == decompile(schedule, seed=1)


def test_many_steps_take_bounded_time_and_memory() -> None:
    noise = random.Random(0)
    schedule = Schedule(SMALL_PIXART, tuple(noise.getrandbits(SMALL_PIXART.cells) for _ in range(120)))
    assert_same(decompile(schedule, effort=0), schedule)
    with pytest.raises(EcadError, match="1,000 steps"):
        decompile(compile(parse("cache all every 3 steps"), SMALL_PIXART, 1001))


@pytest.mark.parametrize("effort", [-1, float("nan"), float("inf")])
def test_effort_out_of_range(effort: float) -> None:
    with pytest.raises(EcadError, match="effort"):
        decompile(compile(parse(""), PIXART, 2), effort=effort)
