"""What `diagnose` says of a text, and the laws of its fixes."""

from __future__ import annotations

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from ecad_dsl import language
from ecad_dsl.language import Model, Program, Steps
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, diagnose, fix, parse
from tests.strategies import programs, programs_for

PIXART = load_spec("pixart-alpha")
HEAD = "model pixart-alpha\nsteps 20\n"


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in diagnose(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Words.
        ("cahce all evry 2 steps", "cache all every 2 steps"),
        ("Cache FFN Every 2 steps", "cache ffn every 2 steps"),
        ("cAche ffn at stpes 3-5", "cache ffn at steps 3-5"),
        ("cache ffn in blcks 3", "cache ffn in blocks 3"),
        ("cache fnn", "cache ffn"),
        ("let deep = blocks 20-27\ncache ffn in depe", "let deep = blocks 20-27\ncache ffn in deep"),
        ("let mixers = components self, cross\ncache mixesr", "let mixers = components self, cross\ncache mixers"),
        ("deep = blocks 20-27\ncache ffn in deep", "let deep = blocks 20-27\ncache ffn in deep"),
        ("let deep blocks 20-27\ncache ffn in deep", "let deep = blocks 20-27\ncache ffn in deep"),
        # Signs.
        ("cache ffn at steps 3\u20135, 7\u20149", "cache ffn at steps 3-5, 7-9"),
        ("cache\u00a0ffn\uff0c self", "cache ffn, self"),
        ("meta title 'it is' # 'so'", "meta title \"it is\" # 'so'"),
        ("meta title \u201cso\u201d", 'meta title "so"'),
        ('meta title "so', 'meta title "so"'),
        ('meta folder "C:\\qs"', 'meta folder "C:\\\\qs"'),
        ('meta title = "so"', 'meta title "so"'),
        # Order.
        ("cache ffn every steps 2", "cache ffn every 2 steps"),
        ("cache ffn every step", "cache ffn every 1 step"),
        ("cache ffn every 2 in first blocks 3", "cache ffn every 2 steps in first 3 blocks"),
        ("cache self and ffn at steps 3 and 5", "cache self, ffn at steps 3, 5"),
        ("cache ffn at 5 in 3-5", "cache ffn at step 5 in blocks 3-5"),
        ("cache ffn  # a\n  every 2 steps # b", "cache ffn  # a\n    every 2 steps # b"),
        # Ranges.
        ("cache ffn in blocks 3, 10-30 by 3  every 2 steps", "cache ffn in blocks 3, 10-27 by 3  every 2 steps"),
        ("cache ffn in last 30 blocks", "cache ffn in last 28 blocks"),
        ("cache ffn in blocks 20-10", "cache ffn in blocks 10-20"),
        ("cache ffn from step 5 to 20", "cache ffn from step 5 to 19"),
        ("cache ffn from step 9 to step 5", "cache ffn from step 5 to 9"),
        ("cache ffn to step 25", "cache ffn to step 19"),
        ("cache ffn in blocks 20%-120%", "cache ffn in blocks 20%-100%"),
        ("cache ffn every 3 steps offset 4", "cache ffn every 3 steps offset 1"),
        ("steps 20\ncache ffn", "cache ffn"),
    ],
)
def test_errors_are_put_right_where_one_edit_alone_makes_sense(text: str, expected: str) -> None:
    fixed = fix(HEAD + text)
    assert fixed.text == HEAD + expected
    assert fixed.applied > 0
    assert not any(diagnostic.is_error for diagnostic in fixed.left)


@pytest.mark.parametrize(
    "text",
    [
        "steps 30\ncache ffn",
        "cache self,",
        "cache ffn in blocks 30",
        "cache ffn from step 9 # to\n    to 5",
        "let x = 5\ncache ffn at x",
        'meta title "so # or so',
        "meta title 'it's'",
        "cache xyzzy",
        "cache 10²",
    ],
)
def test_errors_that_several_edits_could_put_right_are_left_alone(text: str) -> None:
    fixed = fix(HEAD + text)
    assert fixed.text == HEAD + text
    assert fixed.applied == 0
    assert any(diagnostic.is_error for diagnostic in fixed.left)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("let a = blocks 3  # deep\nlet b = a\ncache ffn\n", "# deep\ncache ffn\n"),
        ("cache ffn\nreuse ffn # one\n  # two\n    at step 4\n# three\n", "cache ffn\n# one\n# two\n# three\n"),
        # Of two rules that say the same, each changes nothing while the other is there.
        ("cache ffn\n\nreuse ffn at step 5\nreuse ffn at step 6", "cache ffn\n\n"),
        ("reuse ffn at step 5\nreuse ffn at step 5\n", "reuse ffn at step 5\n"),
        ("cache ffn every 2 steps\ncache ffn every 3 steps\r\n", "cache ffn every 3 steps\r\n"),
        ("reuse ffn at first 3 steps", "reuse ffn at steps 1-2"),
        ("reuse ffn at steps 0-9 by 3, 0, 12", "reuse ffn at steps 3-9 by 3, 12"),
        ("reuse ffn every 2 steps at steps 0-9", "reuse ffn every 2 steps at steps 2-9"),
        ("reuse ffn every 2 steps at steps 0-12 by 3", "reuse ffn every 2 steps at steps 6-12 by 3"),
        ("reuse ffn from step 0", "reuse ffn from step 1"),
        ("reuse ffn to step 5 every 3 steps", "reuse ffn from step 3 to 5 every 3 steps"),
        ("reuse ffn every 2 steps at steps 0, 3, 4", None),
        ("let early = steps 0-3\nreuse ffn at early", None),
        ("cache ffn every 3 steps offset 1 from step 0 to 9", None),
    ],
)
def test_warnings_are_put_right_where_the_meaning_is_sure(text: str, expected: str | None) -> None:
    text = HEAD + text
    fixed = fix(text)
    assert fixed.text == (text if expected is None else HEAD + expected)
    assert bool(fixed.left) == (expected is None)
    assert compile(parse(fixed.text)) == compile(parse(text))


def test_no_line_is_left_out_on_the_strength_of_a_guess() -> None:
    fixed = fix(HEAD + "cache ffn every step\n")
    assert fixed.text == HEAD + "cache ffn every 1 step\n"
    assert [diagnostic.code for diagnostic in fixed.left] == ["W305"]
    assert fix(fixed.text).text == HEAD


def test_a_rule_without_effect_stays_in_a_portable_program() -> None:
    text = "cache ffn\nrecompute ffn in blocks 30-40\n"
    assert fix(text, model="pixart-alpha", steps=20).text == text


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_fixes_of_warnings_keep_the_schedule_and_leave_none_that_can_be_fixed(data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 8), label="steps")
    drawn = data.draw(programs_for(PIXART, steps, max_rules=7), label="program")
    text = language.format(Program((Model("pixart-alpha"), Steps(steps), *drawn.statements)))
    found = diagnose(text)
    assume(not any(diagnostic.is_error for diagnostic in found))
    fixed = fix(text)
    event(f"fixes: {min(fixed.applied, 5)}")
    assert compile(parse(fixed.text)) == compile(parse(text))
    assert not any(diagnostic.is_error or diagnostic.fix for diagnostic in fixed.left)
    assert not {"W305", "W306", "W308"} & {diagnostic.code for diagnostic in fixed.left}
    assert fix(fixed.text) == (fixed.text, fixed.left, 0)


@given(programs, st.integers(0, 400), st.integers(0, 5), st.text("cache,\"#%-in \n\r\t3and\\\u2013X'", max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_damaged_text_never_ends_with_more_errors_and_keeps_its_comments(
    program: Program, at: int, cut: int, damage: str
) -> None:
    whole = language.format(Program(program.statements))
    text = "# first\r\n" + whole[:at] + damage + whole[at + cut :]
    fixed = fix(text)
    before = sum(diagnostic.is_error for diagnostic in diagnose(text))
    assert sum(diagnostic.is_error for diagnostic in fixed.left) <= before
    assert fixed.text.startswith("# first\r\n")
    assert fixed.left == diagnose(fixed.text)
    assert fixed.applied or fixed.text == text


# One run reports every mistake, and none that only follows from another.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache fnn\ncahce all\ncache ffn in blocks 30", ["E202", "E113", "E203"]),
        ("let deep = blcks 20\ncache ffn in deep\nlet more = deep\ncache fnn in more", ["E107", "E202"]),
        ("lte mixers = components self\ncache mixers\ncache all except mixers", ["E113"]),
        ("Let Late = last 3 steps\ncache ffn at late", ["E102", "E102"]),
        ("cahce all evry 2 stps\nlte late = last 3 setps", ["E113", "E107", "E107", "E113", "E108"]),
        ("let unused = blocks 3\ncache self at 3", ["E107"]),
        ("cache ffn evry 2 steps in blocks 3-b at 5", ["E107", "E107", "E107"]),
        ("cache ffn in 3 from every step 3", ["E107", "E107"]),
        ("cache\n    in blocks 3 every 2", ["E107", "E108"]),
        ("hello in the world at large", ["E113"]),
        # A statement is checked as it reads with its mistakes of form put right.
        ("cache ffn in blocks 10-30 evry 2 steps", ["E107", "E203"]),
        ("cahce fnn in blcks 30 evry 2 stps offset 3", ["E113", "E107", "E107", "E107", "E202", "E203", "E211"]),
        ("lte deep = blocks 30\ncache ffn in deep", ["E113", "E203"]),
        ("lte deep = blocks 20\ncache ffn at deep", ["E113", "E207"]),
        ("cache ffn in 3 from every step 30", ["E107", "E107"]),
    ],
)
def test_recovery(text: str, expected: list[str]) -> None:
    assert sorted(codes(HEAD + text)) == sorted(expected)


def test_semantic_mistakes_stand_beside_those_of_form_in_the_order_of_the_text() -> None:
    found = diagnose(HEAD + "cache fnn\ncache ffn evry 2 steps\nreuse self in blocks 30\n")
    assert [diagnostic.code for diagnostic in found] == ["E202", "E107", "E203"]


@pytest.mark.parametrize(
    "line",
    [
        "cache self, fnn in blcks 10-20, 30 evry 2 steps",
        "cahce self and fnn in blocks 10-20 and blocks 30 evry 2 steps",
        "cache self, fnn every steps 2 in 30 from 3",
        "cache self, fnn in first block 3 and blcks 30 evry step",
        "CACHE self, fnn  at 3 in first  blocks 3 and blocks 30",
    ],
)
def test_mistakes_stand_where_they_were_written_though_words_before_and_after_them_are_put_right(line: str) -> None:
    found = {d.code: d for d in diagnose(HEAD + line, model="pixart-alpha", steps=20)}
    at = {code: (HEAD + line)[slice(*found[code].span or (0, 0))] for code in ("E202", "E203")}
    assert at == {"E202": "fnn", "E203": "30"}
