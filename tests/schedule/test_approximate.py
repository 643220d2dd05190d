"""Lossy simplifying: inside its tolerances, least harm first, each schedule measured once."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.language import format, parse
from ecad_dsl.models import ModelSpec, load_spec
from ecad_dsl.schedule import CompileError, Schedule, compile, cost
from ecad_dsl.schedule.approximate import MOST_TRIED, approximate
from ecad_dsl.schedule.simplify import simplify
from tests.strategies import programs_for

REFERENCE = load_spec("reference")
NOISY = """\
model reference
steps 20
cache all every 3 steps
reuse self in block 3 at step 6
recompute ffn in blocks 2, 5 at step 7
recompute cross in block 4 at step 8
"""


class Likeness:
    """Minus the number of cells that are not as in one schedule; knows what it was asked."""

    def __init__(self, like: Schedule) -> None:
        self.like = like
        self.asked: list[str] = []

    def __call__(self, schedule: Schedule) -> float:
        self.asked.append(schedule.key)
        rows = zip(schedule.rows, self.like.rows, strict=True)
        return -float(sum((mine ^ theirs).bit_count() for mine, theirs in rows))


@given(data=st.data())
@settings(max_examples=15)
def test_the_result_stays_inside_both_tolerances(data: st.DataObject) -> None:
    steps = data.draw(st.integers(2, 8))
    program = simplify(data.draw(programs_for(REFERENCE, steps, max_rules=4)), REFERENCE, steps, effort=0)
    start = compile(program, REFERENCE, steps)
    measure = Likeness(start)
    tolerance, macs_tolerance = data.draw(st.integers(0, 60)), data.draw(st.sampled_from((0.0, 0.02, 0.3)))
    removals = list(approximate(program, measure, tolerance, REFERENCE, steps, macs_tolerance=macs_tolerance))
    lengths = [program.length, *(removal.program.length for removal in removals)]
    assert all(before > after for before, after in pairwise(lengths))
    assert len(set(measure.asked)) == len(measure.asked)
    before, quality, macs = program, 0.0, 1 - cost(start).saved
    for removal in removals:
        assert compile(removal.program, REFERENCE, steps) == removal.schedule
        assert removal.quality == Likeness(start)(removal.schedule) >= -tolerance
        assert removal.worth == pytest.approx(quality - removal.quality)
        assert removal.cells == -Likeness(compile(before, REFERENCE, steps))(removal.schedule) > 0
        assert removal.macs == pytest.approx(1 - cost(removal.schedule).saved)
        assert removal.macs == pytest.approx(macs + removal.more_macs)
        assert removal.macs <= 1 - cost(start).saved + macs_tolerance + 1e-9
        assert removal.removed
        assert set(removal.removed) <= set(before.rules)
        before, quality, macs = removal.program, removal.quality, removal.macs


def test_noise_goes_in_the_order_of_least_harm_and_the_rule_behind_it_stays() -> None:
    program = parse(NOISY)
    like = compile(parse("cache all every 3 steps"), REFERENCE, 20)
    removals = list(approximate(program, Likeness(like), 0))
    assert [removal.worth for removal in removals] == [-2, -1, -1]
    assert format(removals[-1].program) == "model reference\nsteps 20\ncache all every 3 steps\n"


def test_rules_go_before_parts_and_what_is_worth_more_than_the_tolerance_stays() -> None:
    program = parse(NOISY)
    (first, second, part) = approximate(program, Likeness(compile(program)), 3)
    assert [first.worth, second.worth, part.worth] == [1, 1, 1]
    assert [len(first.program.rules), len(second.program.rules), len(part.program.rules)] == [3, 2, 2]
    assert format(part.program).splitlines()[-2:] == ["cache all every 3 steps", "recompute ffn in block 5 at step 7"]
    assert [rule.action.value for rule in part.added] == ["recompute"]


def test_nothing_may_cost_more_than_the_tolerance_of_macs() -> None:
    program = parse("cache all every 3 steps\nreuse self in block 3 at step 6")
    measure = Likeness(compile(program, REFERENCE, 20))
    assert list(approximate(program, measure, 1, REFERENCE, 20, macs_tolerance=0)) == []
    (removal,) = approximate(program, measure, 1, REFERENCE, 20, macs_tolerance=0.002)
    assert removal.more_macs > 0
    assert len(removal.program.rules) == 1


def test_a_round_measures_no_more_than_it_may() -> None:
    lines = [f"recompute self in block {n % 8} at step {n}" for n in range(1, 20) if n % 3]
    program = parse("cache all every 3 steps\n" + "\n".join(lines))
    measure = Likeness(compile(program, REFERENCE, 20))
    next(approximate(program, measure, 1, REFERENCE, 20))
    assert len(measure.asked) <= MOST_TRIED + 1


def test_what_cannot_be_measured_is_not_chosen() -> None:
    program = parse("cache all every 3 steps\nrecompute self in block 3 at step 7\nrecompute ffn in block 3 at step 8")
    start = compile(program, REFERENCE, 20)

    def measure(schedule: Schedule) -> float:
        return 0.0 if schedule == start else math.nan

    assert list(approximate(program, measure, 1, REFERENCE, 20)) == []
    with pytest.raises(EcadError, match="no number"):
        list(approximate(program, lambda _: math.nan, 1, REFERENCE, 20))


@pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf])
def test_tolerances_out_of_range(tolerance: float) -> None:
    with pytest.raises(EcadError, match="tolerance"):
        approximate(parse(NOISY), lambda _: 0.0, tolerance)


@pytest.mark.parametrize("model", [None, "reference"])
def test_the_target_must_be_known(model: str | ModelSpec | None) -> None:
    with pytest.raises(CompileError):
        approximate(parse("reuse ffn"), lambda _: 0.0, 1, model)
