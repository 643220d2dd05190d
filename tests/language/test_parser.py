"""What the parser reads, and what it says of texts that are no programs."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.language import (
    TITLES,
    AllBlocks,
    BlockRange,
    Components,
    EvenBlocks,
    EvenSteps,
    Every,
    FirstBlocks,
    FirstSteps,
    FromTo,
    LastBlocks,
    LastSteps,
    Name,
    OddBlocks,
    OddSteps,
    Percent,
    Program,
    Range,
    Rule,
    ScheduleSyntaxError,
    StepRange,
    format,
    parse,
)
from ecad_dsl.language.tree import Action
from tests.strategies import programs

FIXTURES = Path(__file__).parent / "fixtures"
CASES = (FIXTURES / "diagnostics.txt").read_text(encoding="utf-8").split("===\n")

PAGE = """\
# fora-2-tail.ecad: any text after # is a comment
model pixart-alpha                  # optional: without it the program is portable
steps 20                            # optional: without it the caller says how many
meta title "FORA with a free tail"  # any number; value is a string or a number

let deep = blocks 20-27
let opening = first 3 steps
let mixers = components self, cross

cache all every 2 steps
cache ffn in blocks 10-20 every 2 steps
reuse cross in deep and blocks 0, 2 from step 4
recompute mixers in last 2 blocks at steps 5, 9, 12-18 by 3
recompute all except cross at opening
"""


def rule(text: str) -> Rule:
    (only,) = parse(text).rules
    return only


def answer(text: str | bytes) -> str:
    """The canonical text of a program, or what is wrong with it."""
    try:
        return format(parse(text))
    except ScheduleSyntaxError as error:
        return str(error)


def codes(text: str | bytes) -> list[str]:
    with pytest.raises(ScheduleSyntaxError) as error:
        parse(text)
    assert {d.code for d in error.value.diagnostics} <= set(TITLES)
    return [d.code for d in error.value.diagnostics]


@pytest.mark.parametrize("case", CASES)
def test_diagnostics_fixture(case: str) -> None:
    text, expected = case.split("---\n")
    with pytest.raises(ScheduleSyntaxError) as error:
        parse(text, "fast.ecad")
    assert str(error.value) + "\n" == expected


def test_the_program_of_the_page() -> None:
    program = parse(PAGE)
    assert (program.model, program.steps) == ("pixart-alpha", 20)
    assert program.meta == {"title": "FORA with a free tail"}
    assert program.rules == (
        Rule(Action.CACHE, Components(("all",)), every=Every(2)),
        Rule(Action.CACHE, Components(("ffn",)), (BlockRange((Range(10, 20),)),), Every(2)),
        Rule(
            Action.REUSE,
            Components(("cross",)),
            (Name("deep"), BlockRange((Range.single(0), Range.single(2)))),
            steps=FromTo(4),
        ),
        Rule(
            Action.RECOMPUTE,
            Components(("mixers",)),
            (LastBlocks(2),),
            steps=StepRange((Range.single(5), Range.single(9), Range(12, 18, 3))),
        ),
        Rule(Action.RECOMPUTE, Components(("all",), ("cross",)), steps=Name("opening")),
    )


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("blocks 3", BlockRange((Range.single(3),))),
        ("block 3-5", BlockRange((Range(3, 5),))),
        ("single blocks 3-9 by 2, 11", BlockRange((Range(3, 9, 2), Range.single(11)), "single")),
        ("blocks 25%-75%", BlockRange((Range(Percent(25), Percent(75)),))),
        ("blocks 12.5%", BlockRange((Range.single(Percent(Decimal("12.5"))),))),
        ("all blocks", AllBlocks()),
        ("all single blocks", AllBlocks("single")),
        ("single blocks", AllBlocks("single")),
        ("first 4 blocks", FirstBlocks(4)),
        ("first 1 double block", FirstBlocks(1, "double")),
        ("last 4 single blocks", LastBlocks(4, "single")),
        ("even blocks", EvenBlocks()),
        ("odd single blocks", OddBlocks("single")),
        ("deep", Name("deep")),
        ("blocks blocks 3", BlockRange((Range.single(3),), "blocks")),
    ],
)
def test_block_terms(text: str, term: object) -> None:
    assert rule(f"cache all in {text}").blocks == (term,)
    assert rule(f"cache all in {text} and first 2 blocks").blocks == (term, FirstBlocks(2))


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("at steps 5, 9", StepRange((Range.single(5), Range.single(9)))),
        ("at step 5-20%", StepRange((Range(5, Percent(20)),))),
        ("at first 3 steps", FirstSteps(3)),
        ("at last 1 step", LastSteps(1)),
        ("at even steps", EvenSteps()),
        ("at odd steps", OddSteps()),
        ("at opening", Name("opening")),
        ("from step 4", FromTo(4)),
        ("to step 4", FromTo(None, 4)),
        ("from step 4 to 9", FromTo(4, 9)),
        ("from steps 20% to step 80%", FromTo(Percent(20), Percent(80))),
    ],
)
def test_step_selectors(text: str, selector: object) -> None:
    assert rule(f"cache all {text}").steps == selector
    assert rule(f"cache all {text} every 3 steps offset 2").every == Every(3, 2)


def test_clauses_come_in_any_order() -> None:
    assert rule("cache ffn from step 2 every 3 steps in block 4") == rule(
        "cache ffn in block 4 every 3 steps from step 2"
    )


def test_spans_point_into_the_source() -> None:
    program = parse("cache all\r\n\r\ncache self,\r\n    ffn every 2 steps\r\n    in blocks 3, 4-9")
    assert program.source is not None
    second = program.rules[1]
    assert second.blocks is not None
    assert isinstance(second.blocks[0], BlockRange)
    spans = [second.components.where(1), second.every and second.every.span, second.blocks[0].items[1].span]
    assert [program.source.text[slice(*span)] for span in spans if span] == ["ffn", "every 2 steps", "4-9"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark(end: str) -> None:
    text = PAGE.replace("\n", end)
    assert parse(text) == parse(PAGE)
    assert format(parse(text)) == format(parse(PAGE))
    assert parse(b"\xef\xbb\xbf" + text.encode()) == parse(PAGE)
    assert parse("\ufeff" + text) == parse(PAGE)


@pytest.mark.parametrize("text", ["", "\n\n", "  \t", "# only a comment", "\ufeff"])
def test_nothing_is_an_empty_program(text: str) -> None:
    assert parse(text) == Program()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"cache \xff", "E101"),
        (b"\x89PNG\r\n\x1a\n\x00", "E101"),
        ("cache\0", "E102"),
        ("cache all\rcache all", "E102"),
        ("# \x1b[31m", "E102"),
        ("cache \ud800", "E102"),
        ("a" * (1 << 20) + "a", "E103"),
        ("é" * (1 << 19) + "a", "E103"),
        ("cache all\n" * 10_001, "E104"),
        ("cache 20e", "E107"),
        ("at steps 3", "E112"),
        ("7", "E113"),
        ("cache all @", "E102"),
    ],
)
def test_codes(text: str | bytes, code: str) -> None:
    assert codes(text) == [code]


def test_reading_stops_after_a_hundred_mistakes() -> None:
    found = codes("cache\n" * 5_000)
    assert len(found) == 101
    assert found[-1] == "E114"


@pytest.mark.parametrize("text", ["cache " + "self, " * 20_000 + "every 2 steps", "cahce" * 20_000])
def test_a_long_line_is_shown_in_part(text: str) -> None:
    with pytest.raises(ScheduleSyntaxError) as error:
        parse(text)
    assert max(map(len, str(error.value).splitlines())) < 400


def test_diagnostics_as_data() -> None:
    with pytest.raises(ScheduleSyntaxError) as error:
        parse("\ncache ffn evry 2 steps", "fast.ecad")
    (data,) = (diagnostic.to_dict() for diagnostic in error.value.diagnostics)
    assert data.pop("label").startswith("expected")
    assert data == {
        "code": "E107",
        "severity": "error",
        "message": "`evry` cannot stand here",
        "help": "did you mean `every`?",
        "file": "fast.ecad",
        "line": 2,
        "column": 11,
        "end_line": 2,
        "end_column": 15,
        "fix": {"line": 2, "column": 11, "end_line": 2, "end_column": 15, "text": "every"},
    }


def test_errors_and_trees_can_be_sent_to_another_process() -> None:
    program = parse(PAGE)
    assert pickle.loads(pickle.dumps(program)) == program
    with pytest.raises(ScheduleSyntaxError) as error:
        parse("cahce")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@example(b"\xef\xbb\xbf\xff")
@settings(max_examples=150, deadline=None)
def test_garbage_gives_diagnostics_only(garbage: str | bytes) -> None:
    assert isinstance(answer(garbage), str)


@given(programs, st.integers(0, 400), st.integers(0, 5), st.text('cache,"#%-in \n\r\t3and\\', max_size=4))
@settings(max_examples=80, deadline=None)
def test_damaged_programs_give_diagnostics_only(program: Program, at: int, cut: int, text: str) -> None:
    whole = format(program)
    damaged = whole[:at] + text + whole[at + cut :]
    assert isinstance(answer(damaged), str)


@pytest.mark.parametrize("name", ["", "Big", "in", "a b", "1st", "a--b", "blocks"])
def test_names_that_could_not_be_read_back_are_refused(name: str) -> None:
    with pytest.raises(EcadError):
        Components((name,))


def test_every_clause_too_many_is_reported_in_one_reading() -> None:
    line = "cache all in blocks 1 every 2 steps in blocks 2 at step 3 in blocks 4 every 3 steps"
    with pytest.raises(ScheduleSyntaxError) as error:
        parse(line)
    places = [line[slice(*found.span)] for found in error.value.diagnostics]
    assert places == ["blocks 2", "blocks 4", "every 3 steps"]
    assert {found.code for found in error.value.diagnostics} == {"E109"}
