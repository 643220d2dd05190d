"""Syntax errors in the user's terms: what stands there, what could stand there, what was probably meant.

The fixes are guesses at single words. The parser keeps those with which it gets further.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Fix, Severity, closest, correction
from ecad_dsl.language.lines import INDENT, Logical
from ecad_dsl.language.text import Source, Span

_WORD = re.compile(r"\w+|[^\S \t]+|.", re.DOTALL)
_LAST_NAME = re.compile(r"(?<![\w.-])([a-z]\w*)\s*\Z")
_NEXT_NUMBER = re.compile(r"\s+([0-9]+)")
_NOUNS = ("steps", "step", "blocks", "block")
_DASHES = "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
_QUOTES = (
    "'\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{DOUBLE LOW-9 QUOTATION MARK}\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
)
_QUOTED = re.compile(rf'[{_QUOTES}]([^{_QUOTES}"\\]*)[{_QUOTES}](?!.*[{_QUOTES}])')

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
    ("BLOCKS", "INT"): "write the number first: `first 1 block`, `first 2 blocks`",
    ("EQUAL", "INT"): "write it without `=`",
    ("EQUAL", "NAME"): "write it without `=`",
}


def unexpected_token(error: Any, line: Logical, source: Source) -> Diagnostic:
    """The diagnostic for Lark's UnexpectedToken."""
    token, accepts = error.token, error.accepts
    label = f"expected {expectation(accepts)}"
    if token.type == "$END":
        end = line.span.stop
        fix = Fix(Span(end, end), " steps") if accepts == {"STEPS"} else None
        message = "the statement ends too early"
        return _error(source, "E108", message, Span(end, end + 1), label=label, fix=fix)
    # Tokens have their places in the source; what stands around this one is looked up in the statement.
    token.start_pos -= line.start
    token.end_pos -= line.start
    if _is_name(token) and _is_of_word(line.text[token.end_pos : token.end_pos + 1]):
        return unexpected_character(token.end_pos, line, source)
    span = Span(line.start + token.start_pos, line.start + token.end_pos)
    if span.start == line.span.start:
        return _unknown_statement(str(token), line, source)
    help_, fix = _hint(token, accepts, line)
    return _error(source, "E107", f"`{token}` cannot stand here", span, label=label, help_=help_, fix=fix)


def unexpected_character(offset: int, line: Logical, source: Source) -> Diagnostic:
    """The diagnostic for a character that begins no word of the language, or that stands inside one."""
    while _is_of_word(line.text[offset]) and offset and _is_of_word(line.text[offset - 1]):
        offset -= 1
    match = _WORD.match(line.text, offset)
    word = match[0] if match else line.text[offset]
    span = Span(line.start + offset, line.start + offset + len(word))
    if word[0] == '"':
        return _open_text(Span(span.start, line.span.stop), source)
    message = f"`{word}` cannot stand in a program"
    if not word.isprintable() or word.isspace():
        message = f"the character U+{ord(word[0]):04X} cannot stand in a program"
    help_, fix = _plain(word, offset, line)
    return _error(source, "E102", message, span, help_=help_, fix=fix)


def _open_text(span: Span, source: Source) -> Diagnostic:
    help_ = 'close it with `"` on the same line; a quote inside is written `\\"`'
    # A comment may have been swallowed, or another kind of quote be meant to close it.
    sure = not set("#" + _QUOTES) & set(source.text[slice(*span)])
    fix = Fix(Span(span.stop, span.stop), '"') if sure else None
    return _error(source, "E110", "the text in quotes does not end", span, help_=help_, fix=fix)


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


def _is_name(text: str) -> bool:
    return tree.NAME.fullmatch(text) is not None


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _hint(token: Any, accepts: Collection[str], line: Logical) -> tuple[str | None, Fix | None]:
    """What was probably meant by the word found."""
    start = line.start + token.start_pos
    previous = _LAST_NAME.search(line.text, max(0, token.start_pos - 100), token.start_pos)
    if token.type in ("INT", "PERCENT") and previous is not None and (noun := closest(previous[1], _NOUNS)):
        # A misspelt noun passes for a name, until its number comes.
        at = line.start + previous.start()
        return f"write `{noun}` in place of `{previous[1]}`", Fix(Span(at, at + len(previous[1])), noun)
    before = line.text[: token.start_pos].rstrip()
    # A list of numbers has come to its end once an `and` is met: a comma is no longer accepted.
    listed = {"COMMA"} if before[-1:].isdigit() or before[-1:] == "%" else set()
    for (found, possible), text in _HINTS.items():
        if found == token.type and possible in {*accepts, *listed} and (found != "NAME" or before[-1:] == ","):
            return text.format(word=token), _rewrite(token, possible, accepts, line)
    missing = "steps" if accepts == {"STEPS"} else "=" if accepts == {"EQUAL"} else None
    if missing is not None and token.type != "NAME":
        return f"write `{missing}` before it", Fix(Span(start, start), f"{missing} ")
    keywords = [terminal.lower() for terminal in accepts if terminal not in _PHRASES]
    return correction(str(token), keywords, Span(start, start + len(token)))


def _rewrite(token: Any, possible: str, accepts: Collection[str], line: Logical) -> Fix | None:
    """The edit that a hint asks for."""
    start, stop = token.start_pos, token.end_pos
    lead = len(line.text[:start].rstrip())
    number = _NEXT_NUMBER.match(line.text, stop)
    match token.type, possible:
        case (("INT" | "PERCENT"), ("STEPS" | "BLOCKS")):
            if {"STEPS", "BLOCKS"} <= set(accepts):
                return None
            edit = start, start, "step " if possible == "STEPS" else "blocks "
        case "AND", _:
            edit = lead, stop, ","
        case "NAME", _:
            edit = lead - 1, lead, " and"
        case "EQUAL", _:
            edit = lead, stop + len(line.text[stop:]) - len(line.text[stop:].lstrip()), " "
        case _, _ if number is not None:
            edit = start, number.end(), f"{number[1]} {token}"
        case (("STEPS" | "BLOCKS"), _) if token in ("step", "block"):
            edit = start, start, "1 "
        case _:
            return None
    return Fix(Span(line.start + edit[0], line.start + edit[1]), edit[2])


def _unknown_statement(word: str, line: Logical, source: Source) -> Diagnostic:
    span = Span(line.span.start, line.span.start + len(word))
    message = f"no statement starts with `{word}`"
    if word in tree.CLAUSE_WORDS:
        indent = Fix(Span(line.start, span.start), " " * INDENT)
        advice = f"to continue the rule above, indent the line by {INDENT} spaces"
        return _error(source, "E112", message, span, help_=advice, fix=indent)
    label = "expected cache, reuse, recompute, let, model, steps or meta"
    help_, fix = correction(word, tree.STATEMENT_WORDS, span)
    if source.text[span.stop : line.span.stop].lstrip().startswith("="):
        help_, fix = f"write `let {word} = ...`", Fix(Span(span.start, span.start), "let ")
    return _error(source, "E113", message, span, label=label, help_=help_, fix=fix)


def _plain(word: str, offset: int, line: Logical) -> tuple[str | None, Fix | None]:
    """The word of the language that one of other characters stands for."""
    help_, length, text = None, len(word), None
    if word.isspace():
        help_, text = "write a plain space", " " * length
    elif word[0] in _DASHES:
        help_, length, text = "write a range with a hyphen: 10-20", 1, "-"
    elif word[0] in _QUOTES:
        help_, quoted = "texts stand in double quotes", _QUOTED.match(line.text, offset)
        if quoted:
            length, text = len(quoted[0]), f'"{quoted[1]}"'
    elif all(c.isascii() or unicodedata.east_asian_width(c) == "F" for c in word):
        # Full-width letters, digits and signs have an equal in ASCII.
        plain = unicodedata.normalize("NFKC", word).lower()
        if plain != word:
            reason = "names and keywords are lower case: " if word.isascii() else ""
            help_, text = f"{reason}write `{plain}`", plain
    elif word.isidentifier():
        help_ = "names are made of the letters a to z, digits and `_`"
    start = line.start + offset
    return help_, Fix(Span(start, start + length), text) if text is not None else None


def _error(
    source: Source,
    code: str,
    message: str,
    span: Span,
    *,
    label: str | None = None,
    help_: str | None = None,
    fix: Fix | None = None,
) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, span, label, help_, source, fix)
