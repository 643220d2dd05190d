"""Whatever the text, the answer is a program or diagnostics, and what is a program is formatted to the same program.

A normal run tries a few hundred inputs. ``ECAD_FUZZ`` says how many to try, and long inputs are then as long as a
program may be: this takes about half an hour. Another seed tries others:

    ECAD_FUZZ=200000 pytest tests/language/test_fuzz.py tests/schedule/test_interchange.py --hypothesis-seed=0
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_dsl import language
from ecad_dsl.language import TITLES, Diagnostic, Program, ScheduleSyntaxError, parse, render
from ecad_dsl.language.parser import MAX_BYTES, MAX_RULES
from ecad_dsl.language.tree import KEYWORDS
from ecad_dsl.schedule import CompileError, check, compile, format, lint
from tests.strategies import programs

FUZZ = int(os.environ.get("ECAD_FUZZ", "0"))
LONG = MAX_BYTES if FUZZ else 1 << 13
STEPS = 10_000 if FUZZ else 100
ROOT = Path(__file__).parents[2]
MODELS = (None, "reference", "flux.1-dev", "sd3.5-medium")
"""None, and one model of each build."""


def inputs(share: float) -> settings:
    """How many inputs a test tries: its share of them all. Any tree takes long to draw, so it has a small one."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=max(1, round(share * (FUZZ or 250))), deadline=None, suppress_health_check=slow)


def survives(text: str | bytes) -> None:
    """Everything that a user can do with a text, short of running a model."""
    try:
        program = parse(text)
    except ScheduleSyntaxError as error:
        assert_readable(error.diagnostics)
        return
    canonical = language.format(program)
    if len(canonical.encode()) <= MAX_BYTES:
        assert parse(canonical) == program
        assert language.format(parse(canonical)) == canonical
    for model in MODELS:
        steps = None if program.steps is not None else 7
        assert_readable([*check(program, model, steps), *lint(program, model, steps)])
        if model is not None:
            assert_means_the_same(program, model, steps)


def assert_readable(found: Sequence[Diagnostic]) -> None:
    assert {diagnostic.code for diagnostic in found} <= set(TITLES)
    assert not found or render(found).encode()
    for diagnostic in found:
        data = diagnostic.to_dict()
        assert data["message"]
        if diagnostic.span is not None and diagnostic.source is not None:
            assert (1, 1) <= (data["line"], data["column"]) <= (data["end_line"], data["end_column"])


def assert_means_the_same(program: Program, model: str, steps: int | None) -> None:
    """The model's own names in place of aliases change no cell."""
    try:
        schedule = compile(program, model, steps)
    except CompileError:
        return
    text = format(program)
    if len(text.encode()) <= MAX_BYTES:
        assert compile(parse(text), model, steps).key == schedule.key


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda b: b"cache all " + b)))
@inputs(0.3)
def test_bytes(data: bytes) -> None:
    survives(data)


NUMBERS = ("0", "1", "7", "20", "56", "99%", "12.5%", "0%", "100.0%", "9" * 18, "9" * 19, "1e5", "-1", "00", "1e999")
SIGNS = (*' \n\t,-=#"%', "\r\n", "\\", "    ", " ", " ", "\n", "\n    ", ", ", " and ", "é", "\0", "\x0c", "\u2028")
NAMES = ("self", "cross", "ffn", "attn", "attn1", "deep", "single", "double", "pixart-alpha", "flux.1-dev", "blocks")
WORDS = (*sorted(KEYWORDS), *NAMES, *NUMBERS)


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SIGNS)), max_size=40))
@inputs(0.3)
def test_words_of_the_language(words: list[tuple[str, str]]) -> None:
    survives("".join(word + sign for word, sign in words))


SHIPPED = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "schedules").rglob("*.ecad"))]
FIXTURES = [
    case.split("---\n")[0]
    for path in sorted((ROOT / "tests").rglob("fixtures/*.txt"))
    for case in path.read_text(encoding="utf-8").split("===\n")
]
TOKEN = re.compile(r"\w+%?|\s+|.", re.DOTALL)
Tokens = list[str]
EDITS: tuple[Callable[[Tokens, int, int], Tokens], ...] = (
    lambda tokens, i, j: [*tokens[:i], *tokens[i + 1 :]],
    lambda tokens, i, j: [*tokens[: min(i, j)], *tokens[max(i, j) :]],
    lambda tokens, i, j: [*tokens[:i], tokens[j], *tokens[i:]],
    lambda tokens, i, j: [*tokens[:i], tokens[j], *tokens[i + 1 :]],
    lambda tokens, i, j: [*tokens[:i], " ", *tokens[j : j + 9], " ", *tokens[i:]],
    lambda tokens, i, j: [*tokens[:i], WORDS[j % len(WORDS)], *tokens[i + 1 :]],
    lambda tokens, i, j: [*tokens[:i], NUMBERS[j % len(NUMBERS)], *tokens[i + 1 :]],
    lambda tokens, i, j: [*tokens[:i], SIGNS[j % len(SIGNS)], *tokens[i:]],
)
edits = st.tuples(st.sampled_from(EDITS), st.integers(0, 1 << 16), st.integers(0, 1 << 16))


def edited(text: str, changes: list[tuple[Callable[[Tokens, int, int], Tokens], int, int]]) -> str:
    tokens = TOKEN.findall(text)
    for change, i, j in changes:
        if tokens:
            tokens = change(tokens, i % len(tokens), j % len(tokens))
    return "".join(tokens)


@given(st.sampled_from(SHIPPED + FIXTURES), st.lists(edits, max_size=5))
@inputs(0.38)
def test_edited_programs(text: str, changes: list[tuple[Callable[[Tokens, int, int], Tokens], int, int]]) -> None:
    survives(edited(text, changes))


@given(programs.map(language.format), st.lists(edits, max_size=2))
@inputs(0.02)
def test_edited_texts_of_any_tree(
    text: str, changes: list[tuple[Callable[[Tokens, int, int], Tokens], int, int]]
) -> None:
    survives(edited(text, changes))


# (before, what is repeated, after): one line or very many, of everything that a program is made of.
LONG_TEXTS: dict[str, tuple[str, str, str]] = {
    "numbers": ("cache all in blocks ", "3, ", "3"),
    "ranges": ("cache all at steps ", "0-9999 by 2, ", "3"),
    "percentages": ("cache all at steps ", "1%-99%, ", "3%"),
    "block terms": ("cache all in ", "odd blocks and ", "even blocks"),
    "components": ("cache all except ", "self, ", "self"),
    "unknown components": ("model flux.1-dev\nsteps 20\n", "cache outt, atn\n", ""),
    "equal names": ("", "let a = blocks 0\n", ""),
    "unknown names": ("let names = blocks 3\n", "let a = name\n", ""),
    "many mistakes": ("", "cahce all\n", ""),
    "one mistake": ("cache all ", "evry ", ""),
    "comments": ("", "# a comment\n", ""),
    "one comment": ("", "#", ""),
    "blanks": ("cache all", " ", "@"),
    "tabs": ("cache all", "\t", "in"),
    "line ends": ("", "\r\n", ""),
    "continuation lines": ("cache all in block 2\n", "    and block 3\n", ""),
    "comments between lines": ("cache all in block 2\n", "    # why\n    and block 3\n", ""),
    "clauses": ("cache all\n", "    every 2 steps\n", ""),
    "quotes": ("", '"', ""),
    "escapes": ('meta a "', "\\n", '"'),
    "wrong escapes": ('meta a "', "\\q", '"'),
    "no end": ('meta a "', "#\\", ""),
    "digits": ("cache all at step ", "9", ""),
    "places": ("meta a 1.", "0", ""),
    "signs": ("meta a ", "-", ""),
    "letters": ("cache ", "a", ""),
    "dots": ("cache a", ".a", "."),
    "models": ("", "model pixart-alpha\n", ""),
    "control characters": ("", "\0", ""),
    "two bytes": ("", "é", ""),
}


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_long_texts(name: str) -> None:
    before, unit, after = LONG_TEXTS[name]
    count = (LONG - len(before) - len(after)) // len(unit.encode())
    survives(before + unit * count + after)


@pytest.mark.parametrize(
    "line",
    [
        "cache all every 3 steps",
        "reuse ffn in even blocks and blocks 1, 3 at steps 0-98, 99",
        "cache ff at step 99",
    ],
)
def test_many_rules(line: str) -> None:
    survives(f"steps {STEPS}\n" + f"{line}\n" * (MAX_RULES if FUZZ else 50))


def test_many_names() -> None:
    count = MAX_RULES if FUZZ else 50
    lets = "".join(f"let name-{i} = steps 0-97, 99\n" for i in range(count))
    rules = "".join(f"cache self at name_{i}\ncache self at name-{i}\n" for i in range(count // 2))
    survives(f"steps {STEPS}\n" + lets + rules)
