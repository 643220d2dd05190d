"""Text to tree."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, NoReturn

from ecad_dsl.language import tree
from ecad_dsl.language.build import Builder, MistakeError, Unplaced
from ecad_dsl.language.diagnostics import Diagnostic, ScheduleSyntaxError, Severity
from ecad_dsl.language.lines import Logical, logical_lines
from ecad_dsl.language.mistakes import unexpected_character, unexpected_token
from ecad_dsl.language.text import Source, Span

MAX_BYTES = 1 << 20
MAX_RULES = 10_000
"""As many names may be bound by `let`, too."""
MAX_MISTAKES = 100
"""A text with more mistakes than this is no program; the rest of it is not read."""

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_ACTIONS = tuple(action.value for action in tree.Action)


def parse(text: str | bytes, filename: str = "<text>") -> tree.Program:
    """The tree of a program, with its comments.

    Raises:
        ScheduleSyntaxError: the text is not a program; the error holds the mistakes of every line.
    """
    source = _source(text, filename)
    lines, below = logical_lines(source.text)
    _check_counts(lines, source)
    statements: list[tree.Statement] = []
    found: list[Diagnostic] = []
    for line in lines:
        try:
            statements.append(_statement(line, source))
        except MistakeError as mistake:
            found.append(mistake.diagnostic)
        if len(found) > MAX_MISTAKES:
            rest = "the rest of the text was not read"
            found[-1] = Diagnostic("E114", Severity.ERROR, f"more than {MAX_MISTAKES} mistakes; {rest}")
            break
    if found:
        raise ScheduleSyntaxError(found)
    return tree.Program(tuple(statements), below=tuple(below), source=source)


def _source(text: str | bytes, filename: str) -> Source:
    """The decoded text, once it is sure to be of bounded size and free of binary rubbish."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass")
    if len(data) > MAX_BYTES:
        _refuse("E103", f"{filename} is larger than 1 MiB, the limit for a program", Source("", filename))
    decoded = _decode(text, filename) if isinstance(text, bytes) else text
    source = Source(decoded.removeprefix(_BOM), filename)
    _check_characters(source)
    return source


def _decode(data: bytes, filename: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix(_BOM)
        source = Source(before + data[error.start :].decode("utf-8", errors="replace"), filename)
        at = Span(len(before), len(before) + 1)
        label = f"byte 0x{data[error.start]:02x} is not UTF-8"
        _refuse("E101", f"{filename} is not UTF-8 text", source, at, label=label, help_="save it as UTF-8")


def _check_characters(source: Source) -> None:
    # A carriage return is part of a line end before a line feed, and a stray character anywhere else.
    match = tree.UNPRINTABLE.search(source.text.replace("\r\n", " \n"))
    if match is None:
        return
    at = Span(match.start(), match.start() + 1)
    message = f"the character U+{ord(match[0]):04X} cannot stand in a program"
    help_ = "end lines with LF or CRLF" if match[0] == "\r" else "remove it"
    _refuse("E102", message, source, at, help_=help_)


def _check_counts(lines: list[Logical], source: Source) -> None:
    for what, words in (("rule", _ACTIONS), ("name", ("let",))):
        counted = [line for line in lines if line.first_word in words]
        if len(counted) > MAX_RULES:
            message = f"the program has {len(counted):,} {what}s; the limit is {MAX_RULES:,}"
            _refuse("E104", message, source, counted[MAX_RULES].span, label=f"the first {what} too many")


def _refuse(
    code: str,
    message: str,
    source: Source,
    span: Span | None = None,
    *,
    label: str | None = None,
    help_: str | None = None,
) -> NoReturn:
    raise ScheduleSyntaxError([Diagnostic(code, Severity.ERROR, message, span, label, help_, source)]) from None


@cache
def _lark() -> Any:
    from lark import Lark

    from ecad_dsl.language.lexer import StatementLexer

    grammar = resources.files("ecad_dsl.grammars").joinpath("ecad.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer=StatementLexer,
        transformer=Builder(),
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def _statement(line: Logical, source: Source) -> tree.Statement:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        unplaced: Unplaced = _lark().parse(line)
    except MistakeError as mistake:
        raise MistakeError(replace(mistake.diagnostic, source=source)) from None
    except UnexpectedToken as error:
        raise MistakeError(unexpected_token(error, line, source)) from None
    except UnexpectedCharacters as error:
        raise MistakeError(unexpected_character(error.pos_in_stream, line, source)) from None
    return unplaced(span=line.span, above=tuple(line.above), beside=line.beside)
