"""Text to tree."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from functools import cache
from importlib import resources
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, NoReturn

from ecad_dsl.language import tree
from ecad_dsl.language.build import Builder, MistakeError, Unplaced
from ecad_dsl.language.diagnostics import Diagnostic, Fix, ScheduleSyntaxError, Severity
from ecad_dsl.language.lines import Line, Logical, logical_lines
from ecad_dsl.language.mistakes import unexpected_character, unexpected_token
from ecad_dsl.language.text import Source, Span

MAX_BYTES = 1 << 20
MAX_RULES = 10_000
"""As many names may be bound by `let`, too."""
MAX_MISTAKES = 100
"""A text with more mistakes of form than this is no program; the rest of it is not read."""

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_ACTIONS = tuple(action.value for action in tree.Action)
_CLAUSE = re.compile(r"(?<![\w.-])(?:in|every|at|from)(?![\w.-])")
"""Where a rule can be understood again after a mistake."""
_BINDING = re.compile(r"\s*(?:let\s+([\w.-]+)|(?:[\w.-]+\s+)?([\w.-]+)\s*=)")


def parse(text: str | bytes, filename: str = "<text>") -> tree.Program:
    """The tree of a program, with its comments.

    Raises:
        ScheduleSyntaxError: the text is not a program; the error holds the mistakes of every line.
    """
    program, found = recover(text, filename)
    if found:
        raise ScheduleSyntaxError(found)
    return program


def recover(text: str | bytes, filename: str = "<text>") -> tuple[tree.Program, list[Diagnostic]]:
    """The statements of a text that could be read, and the mistakes in the form of the others, in order.

    A statement that can be read once its mistakes are put right is among the statements as it is then.
    """
    try:
        source = _source(text, filename)
        lines, below = logical_lines(source.text)
        _check_counts(lines, source)
    except ScheduleSyntaxError as error:
        return tree.Program(), list(error.diagnostics)
    statements: list[tree.Statement] = []
    broken: set[str] = set()
    found: list[Diagnostic] = []
    for index, line in enumerate(lines):
        try:
            statements.append(_statement(line, source))
        except MistakeError as mistake:
            mistakes, guess = _read_on(mistake.diagnostics, line, lines[index - 1] if index else None, source)
            found += mistakes
            if guess is not None:
                statements.append(guess)
            elif name := _BINDING.match(line.text):
                broken.add((name[1] or name[2]).lower())
        if len(found) > MAX_MISTAKES:
            message = f"more than {MAX_MISTAKES} mistakes; the rest of the text was not read"
            found[MAX_MISTAKES:] = [Diagnostic("E114", Severity.ERROR, message, source=source)]
            break
    program = tree.Program(tuple(statements), below=tuple(below), source=source, broken=frozenset(broken))
    return program, found


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

    grammar = resources.files("ecad_dsl.grammars").joinpath("ecad.lark")
    # Making the tables from the grammar takes longer than anything else at start-up. Like the compiled modules they are
    # kept beside their source; where that cannot be written, Lark goes on without.
    tables = Path(cache_from_source(str(grammar))).with_suffix(".lark")
    return Lark(
        grammar.read_text(encoding="utf-8"),
        cache=not sys.dont_write_bytecode and str(tables),
        parser="lalr",
        lexer=StatementLexer,
        transformer=Builder(),
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def tokens(line: Logical) -> Iterator[tuple[int, str | None, str]]:
    """The words of a statement, whether it has the form of one or not: offset, terminal of the grammar, text.

    A character at which no word begins has no terminal.
    """
    from lark.exceptions import UnexpectedCharacters

    text, start = line.text, line.start
    while text:
        try:
            for word in _words().lex(Logical([Line(start, text, None)])):
                yield word.start_pos, word.type, str(word)
            return
        except UnexpectedCharacters as error:
            at = error.pos_in_stream
            yield start + at, None, text[at]
            text, start = text[at + 1 :], start + at + 1


@cache
def _words() -> Any:
    from ecad_dsl.language.lexer import StatementLexer

    return StatementLexer(_lark().lexer_conf)


def _read_on(
    first: Iterable[Diagnostic], line: Logical, above: Logical | None, source: Source
) -> tuple[list[Diagnostic], tree.Statement | None]:
    """The first mistakes of a statement, and those that show once they are put right, or in later clauses of a rule.

    With them the whole statement, where it can be read once all of them are put right.
    """
    found = [_with_sure_fix(mistake, line, above) for mistake in first]
    fixes: list[Fix] = []
    is_whole = True
    while len(found) <= MAX_MISTAKES:
        rest = _put_right(found[-1], line)
        if rest is None:
            rest, is_whole = _later_clause(found[-1], line), False
        elif (fix := found[-1].fix) is not None:
            fixes.append(fix)
        if rest is None:
            break
        line = rest
        try:
            statement = _statement(line, source)
        except MistakeError as mistake:
            found += [_with_sure_fix(diagnostic, line, above) for diagnostic in mistake.diagnostics]
        else:
            return found, _as_written(statement, fixes) if is_whole else None
    return found, None


def _put_right(mistake: Diagnostic, line: Logical) -> Logical | None:
    """The statement with the mistake's fix in place; what follows the fix keeps its offsets into the source."""
    fix = mistake.fix
    if fix is None or mistake.code == "E112":
        return None
    start, stop = fix.span.start - line.start, fix.span.stop - line.start
    longer = len(fix.text) - (stop - start)
    return Logical([Line(line.start - longer, line.text[:start] + fix.text + line.text[stop:], None)])


def _as_written(statement: tree.Statement, fixes: list[Fix]) -> tree.Statement:
    """A statement read with these fixes in place, its spans where everything stands in the source."""
    for fix in reversed(fixes):
        statement = _before_fix(statement, fix)
    return statement


def _before_fix(part: Any, fix: Fix) -> Any:
    """A part of a statement read as :func:`_put_right` left it, its spans as they were before that."""
    if isinstance(part, Span):
        return _span_before_fix(part, fix)
    if isinstance(part, tuple):
        return tuple(_before_fix(item, fix) for item in part)
    if isinstance(part, tree.Node):
        return replace(part, **{field.name: _before_fix(getattr(part, field.name), fix) for field in fields(part)})
    return part


def _span_before_fix(span: Span, fix: Fix) -> Span:
    """What stands before a fix was moved by as much as that makes the text longer; its own words stand for the old."""
    longer = len(fix.text) - (fix.span.stop - fix.span.start)
    start, stop = span
    if start < fix.span.stop:
        start = min(start + longer, fix.span.start)
    stop = stop + longer if stop + longer <= fix.span.start else max(stop, fix.span.stop)
    return Span(start, stop)


def _later_clause(mistake: Diagnostic, line: Logical) -> Logical | None:
    """The next clause alone, as of a rule that is right up to there; its offsets still lead into the source."""
    if mistake.span is None or line.first_word not in _ACTIONS:
        return None
    clause = _CLAUSE.search(line.text, mistake.span.stop - line.start)
    if clause is None:
        return None
    lead = f"{tree.Action.CACHE.value} all "
    return Logical([Line(line.start + clause.start() - len(lead), lead + line.text[clause.start() :], None)])


def _with_sure_fix(mistake: Diagnostic, line: Logical, above: Logical | None) -> Diagnostic:
    """Without its fix, unless the statement is understood beyond the place of the mistake with it."""
    fix = mistake.fix
    if fix is None or mistake.span is None:
        return mistake
    if mistake.code == "E112":
        helps = above is not None and above.first_word in (*_ACTIONS, "let")
    else:
        rest = line.text[max(fix.span.stop, mistake.span.stop) - line.start :]
        text = line.text[: fix.span.start - line.start] + fix.text + line.text[fix.span.stop - line.start :]
        stop = _understood(text)
        helps = stop is None or stop >= len(text) - len(rest)
    return mistake if helps else replace(mistake, fix=None)


def _understood(text: str) -> int | None:
    """How far a statement has the form of one; None for to its end."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        _lark().parse(Logical([Line(0, text, None)]))
    except MistakeError:  # the form is right, what it says is not
        return None
    except UnexpectedToken as error:
        return len(text) if error.token.type == "$END" else int(error.token.start_pos)
    except UnexpectedCharacters as error:
        return int(error.pos_in_stream)
    return None


def _statement(line: Logical, source: Source) -> tree.Statement:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        unplaced: Unplaced = _lark().parse(line)
    except MistakeError as mistake:
        raise MistakeError(*(replace(diagnostic, source=source) for diagnostic in mistake.diagnostics)) from None
    except UnexpectedToken as error:
        raise MistakeError(unexpected_token(error, line, source)) from None
    except UnexpectedCharacters as error:
        raise MistakeError(unexpected_character(error.pos_in_stream, line, source)) from None
    return unplaced(span=line.span, above=tuple(line.above), beside=line.beside)
