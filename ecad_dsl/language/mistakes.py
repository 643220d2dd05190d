"""Syntax errors in the user's terms: what stands there, what could stand there, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Severity, did_you_mean
from ecad_dsl.language.lines import INDENT, Logical
from ecad_dsl.language.text import Source, Span

_WORD = re.compile(r"\w+|.", re.DOTALL)
_DASHES = "\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"

# How a person calls the terminals of the grammar; all others are keywords. Several may share one phrase.
_PHRASES = {
    "$END": "the end of the line",
    "NAME": "a name",
    "INT": "a number",
    "FLOAT": "a number",
    "PERCENT": "a percentage",
    "STRING": "a text in quotes",
    "COMMA": "`,`",
    "MINUS": "`-`",
    "EQUAL": "`=`",
}

# (type of what was found, a terminal that could stand there) -> what was probably meant.
_HINTS = {
    ("INT", "STEPS"): "write `steps` before the number: `at step {word}`, `from step {word}`",
    ("PERCENT", "STEPS"): "write `step` before the percentage: `from step {word}`",
    ("INT", "BLOCKS"): "write `blocks` before the number: `in block {word}`",
    ("PERCENT", "BLOCKS"): "write `blocks` before the percentage: `in blocks {word}`",
    ("AND", "COMMA"): "separate components, numbers and names by commas",
    ("NAME", "INT"): "join block terms with `and`: `in blocks 0, 2 and single blocks 3`",
    ("STEPS", "INT"): "write the number first: `every 1 step`, `every 2 steps`",
    ("EQUAL", "INT"): "write it without `=`",
    ("EQUAL", "NAME"): "write it without `=`",
}


def unexpected_token(error: Any, line: Logical, source: Source) -> Diagnostic:
    """The diagnostic for Lark's UnexpectedToken."""
    token, accepts = error.token, error.accepts
    label = f"expected {expectation(accepts)}"
    if token.type == "$END":
        end = Span(line.span.stop, line.span.stop + 1)
        return _error(source, "E108", "the statement ends too early", end, label=label)
    span = Span(token.start_pos, token.end_pos)
    if span.start == line.span.start:
        return _unknown_statement(str(token), span, source)
    help_ = _hint(str(token), token.type, accepts)
    return _error(source, "E107", f"`{token}` cannot stand here", span, label=label, help_=help_)


def unexpected_character(offset: int, line: Logical, source: Source) -> Diagnostic:
    """The diagnostic for a character that begins no word of the language."""
    match = _WORD.match(line.text, offset)
    word = match[0] if match else line.text[offset]
    span = Span(line.start + offset, line.start + offset + len(word))
    if word == '"':
        rest = Span(span.start, line.span.stop)
        help_ = 'close it with `"` on the same line; a quote inside is written `\\"`'
        return _error(source, "E110", "the text in quotes does not end", rest, help_=help_)
    message = f"`{word}` cannot stand in a program"
    return _error(source, "E102", message, span, help_=_character_hint(word))


def expectation(accepts: Collection[str]) -> str:
    """What could stand there, as a phrase."""
    # A key of `meta` may be any word, which is nothing to list.
    wordy = "NAME" in accepts and len(accepts) > 20
    phrases = sorted({_phrase(terminal) for terminal in (["NAME"] if wordy else accepts)}, key=_order)
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} or {phrases[-1]}"


def _phrase(terminal: str) -> str:
    return _PHRASES.get(terminal, f"`{terminal.lower()}`")


def _order(phrase: str) -> tuple[bool, bool, str]:
    """Words to write as they are come first, the end of the line comes last."""
    return phrase == _PHRASES["$END"], not phrase.startswith("`"), phrase


def _hint(word: str, kind: str, accepts: Collection[str]) -> str | None:
    for (found, possible), text in _HINTS.items():
        if found == kind and possible in accepts:
            return text.format(word=word)
    keywords = [terminal.lower() for terminal in accepts if terminal not in _PHRASES]
    return did_you_mean(word, keywords)


def _unknown_statement(word: str, span: Span, source: Source) -> Diagnostic:
    message = f"no statement starts with `{word}`"
    if word in tree.CLAUSE_WORDS:
        help_ = f"to continue the rule above, indent the line by {INDENT} spaces"
        return _error(source, "E112", message, span, help_=help_)
    label = "expected cache, reuse, recompute, let, model, steps or meta"
    return _error(source, "E113", message, span, label=label, help_=did_you_mean(word, tree.STATEMENT_WORDS))


def _character_hint(word: str) -> str | None:
    if word.lower() != word:
        return f"names and keywords are lower case: write `{word.lower()}`"
    if word in _DASHES:
        return "write a range with a hyphen: 10-20"
    return "texts stand in double quotes" if word == "'" else None


def _error(
    source: Source, code: str, message: str, span: Span, *, label: str | None = None, help_: str | None = None
) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, span, label, help_, source)
