"""The canonical text: fixtures in fixtures/format.txt (input, `---`, expected, cases parted by `===`) and the laws."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from ecad_dsl.errors import EcadError
from ecad_dsl.language import Components, Let, Meta, Name, Percent, Program, Rule, format, parse
from ecad_dsl.language.formatter import WIDTH
from ecad_dsl.language.tree import Action
from tests.strategies import programs

CASES = (Path(__file__).parent / "fixtures/format.txt").read_text(encoding="utf-8").split("===\n")


@pytest.mark.parametrize("case", CASES)
def test_fixture(case: str) -> None:
    text, expected = case.split("---\n")
    assert format(parse(text)) == expected
    assert format(parse(expected)) == expected


@given(programs)
@settings(max_examples=80, deadline=None)
def test_any_tree_is_read_back_as_it_was_written(program: Program) -> None:
    assert parse(format(program)) == program


@given(programs)
@settings(max_examples=60, deadline=None)
def test_formatting_twice_changes_nothing_more(program: Program) -> None:
    text = format(program)
    assert format(parse(text)) == text


@given(programs)
@settings(max_examples=60, deadline=None)
def test_every_comment_is_kept(program: Program) -> None:
    lists = [*(s.above for s in program.statements), program.below]
    comments = [c for above in lists for c in above if c] + [s.beside for s in program.statements if s.beside]
    again = parse(format(program))
    lists = [*(s.above for s in again.statements), again.below]
    kept = [c for above in lists for c in above if c] + [s.beside for s in again.statements if s.beside]
    assert kept == comments


def test_an_empty_program_is_an_empty_text() -> None:
    assert format(Program()) == ""
    assert format(parse("\n\n")) == ""


def test_lines_stay_within_the_width() -> None:
    program = Program((Rule(Action.CACHE, Components(tuple(f"component_{i}" for i in range(40)))),))
    text = format(program)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert parse(text) == program


def test_comments_and_places_take_no_part_in_equality() -> None:
    assert parse("cache all # why\n\n") == parse("# what\ncache   all")


def test_a_lone_name_is_one_tree_whatever_it_stands_for() -> None:
    assert Let("a", (Name("b"),)) == Let("a", Name("b"))


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 10**18, "a\0b", None])
def test_metadata_that_cannot_be_written_is_refused(value: object) -> None:
    with pytest.raises(EcadError, match="meta x"):
        Meta("x", value)  # type: ignore[arg-type]


def test_percentages_are_exact() -> None:
    assert Percent(12.5) == Percent("12.50")
    assert str(Percent("12.50")) == "12.5%"
    assert str(Percent(100)) == "100%"


def test_length_counts_rules_and_their_literals() -> None:
    assert parse("let deep = blocks 1-2\nmeta a 1").length == (0, 0)
    assert parse("cache all").length == (1, 1)
    # ffn; deep; 0; 2; single, 3, 9, 2 (by); 4, 1 (every, offset); 5, 8
    text = "cache ffn in deep and blocks 0, 2 and single blocks 3-9 by 2 every 4 steps offset 1 from step 5 to 8"
    assert parse(text).length == (1, 12)
    assert parse("cache all except cross in even blocks\nreuse all at odd steps").length == (2, 5)
