"""Two programs compared, rule by rule and cell by cell."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.language import format_statement
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, parse
from ecad_dsl.schedule.diff import diff, diff_rules
from tests.schedule.interpreter import Interpreter
from tests.strategies import programs_for

SMALL = load_spec("flux.1-dev").resized({"double": 2, "single": 3})


def changes(a: str, b: str) -> list[str]:
    return [
        f"{c.kind}: {c.before or ''} -> {c.after or ''}" for c in diff_rules(parse(a), parse(b)) if c.kind != "same"
    ]


@given(data=st.data())
@settings(max_examples=25)
def test_a_rule_diff_holds_both_programs_in_order(data: st.DataObject) -> None:
    a = data.draw(programs_for(SMALL, 5))
    b = data.draw(st.one_of(programs_for(SMALL, 5), st.permutations(a.statements).map(lambda s: type(a)(tuple(s)))))
    found = diff_rules(a, b)
    assert [c.before for c in found if c.before is not None] == list(map(format_statement, a.statements))
    assert [c.after for c in found if c.after is not None] == list(map(format_statement, b.statements))
    for change in found:
        assert (change.kind == "same") == (change.before == change.after)
    # What is gone for good is in A alone, and what moved is in both.
    texts = [Counter(map(format_statement, program.statements)) for program in (a, b)]
    moved = Counter(c.before for c in found if c.kind == "moved" and c.before is not None)
    assert moved == Counter(c.after for c in found if c.kind == "moved" and c.after is not None)
    assert not {c.before for c in found if c.kind == "removed"} & {c.after for c in found if c.kind == "added"}
    assert not moved - (texts[0] & texts[1])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("cache all", "cache all # why\n\n", []),
        ("model pixart-alpha\ncache attn1", "model pixart-alpha\ncache self", []),
        ("cache all", "", ["removed: cache all -> "]),
        ("cache all", "cache all\nreuse ffn", ["added:  -> reuse ffn"]),
        (
            "cache ffn every 2 steps",
            "cache ffn every 3 steps",
            ["changed: cache ffn every 2 steps -> cache ffn every 3 steps"],
        ),
        (
            "cache ffn every 2 steps",
            "reuse ffn every 3 steps",
            ["removed: cache ffn every 2 steps -> ", "added:  -> reuse ffn every 3 steps"],
        ),
        (
            "cache self\ncache ffn\nreuse all in blocks 3",
            "reuse all in blocks 3\ncache self\ncache ffn",
            ["moved:  -> reuse all in block 3", "moved: reuse all in block 3 -> "],
        ),
        (
            "let deep = blocks 1-2\nreuse all in deep",
            "let deep = blocks 1-3\nreuse all in deep",
            ["changed: let deep = blocks 1-2 -> let deep = blocks 1-3"],
        ),
        (
            "cache ffn in blocks 1-2\nreuse self",
            "reuse cross\ncache ffn in blocks 1-3\nreuse self",
            ["added:  -> reuse cross", "changed: cache ffn in blocks 1-2 -> cache ffn in blocks 1-3"],
        ),
    ],
)
def test_what_becomes_of_a_rule(a: str, b: str, expected: list[str]) -> None:
    assert changes(a, b) == expected


@given(programs_for(SMALL, 5), programs_for(SMALL, 5))
@settings(max_examples=15)
def test_cells_are_counted_by_component(one, other) -> None:
    a, b = (Interpreter(program, SMALL, 5).recomputed() for program in (one, other))
    found = diff(compile(one, SMALL, 5), other)
    assert found.rules is None
    for part in found.by_component:
        for count, cells in ((part.only_a, a - b), (part.only_b, b - a)):
            assert count == sum(cell[1::2] == (part.stack, part.component) for cell in cells)
    assert found.same == (a == b)
    assert len(found.by_component) == 6


@pytest.mark.parametrize(
    ("model", "steps", "message"),
    [
        ("flux.1-dev", 20, r"PixArt-alpha \(28 blocks\) and FLUX.1-dev \(57 blocks\).*retarget"),
        ("pixart-alpha", 50, r"20 and 50 steps.*retarget"),
    ],
)
def test_schedules_of_different_shapes_are_told_what_to_do(model: str, steps: int, message: str) -> None:
    program = parse("cache all every 2 steps")
    with pytest.raises(EcadError, match=message):
        diff(compile(program, "pixart-alpha", 20), compile(program, model, steps))
