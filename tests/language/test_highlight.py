"""The lexer for Pygments, and programs as HTML."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments import token
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename

from ecad_dsl import schedules
from ecad_dsl.language import Program, format, parse
from ecad_dsl.language.highlight import EcadLexer, highlighted
from ecad_dsl.language.parser import _lark
from ecad_dsl.language.tree import KEYWORDS
from tests.strategies import programs


def kinds(text: str) -> list[tuple[object, str]]:
    return [(kind, words) for _, kind, words in EcadLexer().get_tokens_unprocessed(text)]


def test_pygments_finds_the_lexer_by_name_and_by_file() -> None:
    assert isinstance(get_lexer_by_name("ecad"), EcadLexer)
    assert isinstance(get_lexer_for_filename("fast.ecad"), EcadLexer)


def test_every_word_of_the_grammar_is_coloured_as_one() -> None:
    spelt_out = {t.pattern.value for t in _lark().terminals if t.pattern.type == "str" and t.pattern.value.isalpha()}
    assert spelt_out | {"step", "block"} == set(KEYWORDS)
    for word in KEYWORDS:
        assert all(kind in token.Keyword for kind, _ in kinds(word)), word


@given(st.text())
def test_no_character_is_lost_or_added_in_any_text(text: str) -> None:
    found = list(EcadLexer().get_tokens_unprocessed(text))
    assert "".join(words for _, _, words in found) == text
    assert all(text.startswith(words, at) for at, _, words in found)


@given(programs)
def test_programs_have_no_errors_and_their_comments_are_comments(program: Program) -> None:
    found = kinds(format(program))
    assert token.Error not in {kind for kind, _ in found}
    comments = [words for kind, words in found if kind is token.Comment.Single]
    assert comments == [line.strip() for line in comments]
    assert all(words.startswith("#") for words in comments)


@pytest.mark.parametrize("name", schedules.names())
def test_the_library_has_no_errors(name: str) -> None:
    assert token.Error not in {kind for kind, _ in kinds(schedules.text(name))}


def test_a_word_is_what_it_stands_for() -> None:
    found = {words: kind for kind, words in kinds('meta steps "# no comment"\nlet deep = blocks 25%-3 # one\n')}
    assert found["steps"] is token.Name.Attribute
    assert found['"# no comment"'] is token.String.Double
    assert found["deep"] is token.Name.Variable
    assert found["25%"] is token.Number.Float
    assert found["3"] is token.Number.Integer
    assert found["# one"] is token.Comment.Single
    assert kinds("reuse Ffn")[-2:] == [(token.Error, "F"), (token.Name, "fn")]


@given(programs)
def test_html_shows_the_canonical_text_and_nothing_else(program: Program) -> None:
    html = program._repr_html_()
    assert unescape(re.sub(r"<[^>]+>", "", html)) == format(program)


def test_what_a_program_says_is_not_taken_for_html() -> None:
    html = highlighted(parse('meta title "<script>alert(1)</script>"\n# <b>\nreuse all\n'))
    assert "<script" not in html
    assert "<b>" not in html
