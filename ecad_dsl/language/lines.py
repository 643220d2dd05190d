"""From physical lines to logical statements: comments set aside, continuation lines joined.

Nothing moves on the way. A logical line has as many characters as the piece of source it was made from, comments and
line ends being blanked out, so an offset into it plus its start is an offset into the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ecad_dsl.language.diagnostics import Fix
from ecad_dsl.language.text import Source, Span
from ecad_dsl.language.tree import CLAUSE_WORDS, STATEMENT_WORDS

INDENT = 4
"""Spaces that make a line starting with a clause word a continuation."""

# Everything up to a `#` that is not inside quotes; an unclosed quote reaches to the end of the line.
_CODE = re.compile(r'(?:[^"#]|"(?:[^"\\]|\\.)*(?:"|\\?$))*')
_FIRST_WORD = re.compile(r"\s*([a-z_][a-z0-9_.-]*)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_OPEN_END = re.compile(r"(?:,|(?<![\w.-])and)\Z")


class Line(NamedTuple):
    """A physical line: its code, without blanks at its end, and its comment with the ``#``."""

    start: int
    code: str
    comment: str | None


@dataclass
class Logical:
    """One statement as text, with the comments that belong to it."""

    lines: list[Line]
    above: list[str] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.lines[0].start

    @property
    def beside(self) -> str | None:
        return self.lines[-1].comment

    @cached_property
    def text(self) -> str:
        ends = [line.start for line in self.lines[1:]]
        padded = [line.code.ljust(end - line.start) for line, end in zip(self.lines, ends, strict=False)]
        return "".join(padded) + self.lines[-1].code

    @property
    def span(self) -> Span:
        lead = len(self.text) - len(self.text.lstrip())
        return Span(self.start + lead, self.start + len(self.text.rstrip()))

    @property
    def first_word(self) -> str | None:
        return first_word(self.lines[0].code)

    def extend(self, line: Line, between: list[str]) -> None:
        """Join a continuation line. Comments inside a statement move above it."""
        if self.beside is not None:
            self.above.append(self.beside)
        self.above += [comment for comment in between if comment]
        self.lines.append(line)


def first_word(code: str) -> str | None:
    match = _FIRST_WORD.match(code)
    return match[1] if match else None


def logical_lines(text: str) -> tuple[list[Logical], list[str]]:
    """The statements of a text, and the comments below the last one. Blank lines are empty comments."""
    statements: list[Logical] = []
    gap: list[str] = []
    for line in physical_lines(text):
        if not line.code.strip():
            if line.comment:
                gap.append(line.comment)
            elif gap[-1:] != [""]:
                gap.append("")
        elif statements and _continues(statements[-1].lines[-1].code, line.code):
            statements[-1].extend(line, gap)
            gap = []
        else:
            statements.append(Logical([line], gap))
            gap = []
    return statements, gap


def removal(source: Source | None, span: Span | None) -> Fix | None:
    """The edit that takes the statement in a span out: its lines, but for the comments on them, which stay."""
    if source is None or span is None:
        return None
    start = source.text.rfind("\n", 0, span.start) + 1
    stop = source.text.find("\n", span.stop) + 1 or len(source.text)
    kept = []
    for raw in _LINE.findall(source.text[start:stop]):
        comment = next(physical_lines(raw)).comment
        if comment is not None:
            kept.append(raw[raw.rindex(comment) :])
    return Fix(Span(start, stop), "".join(kept))


def _continues(before: str, code: str) -> bool:
    word = first_word(code)
    if word in STATEMENT_WORDS:
        # These begin a statement and nothing else, so a dangling comma above is the mistake of its own line.
        return False
    if word in CLAUSE_WORDS and _indentation(code) >= INDENT:
        return True
    return _OPEN_END.search(before, max(0, len(before) - 4)) is not None


def _indentation(code: str) -> int:
    expanded = code.expandtabs(INDENT)
    return len(expanded) - len(expanded.lstrip())


def physical_lines(text: str) -> Iterator[Line]:
    """Each line of a text, with its comment set aside."""
    start = 0
    for raw in text.split("\n"):
        line = raw.removesuffix("\r")
        code = line
        if "#" in line:
            match = _CODE.match(line)
            code = match[0] if match else ""
        yield Line(start, code.rstrip(), line[len(code) :].rstrip() or None)
        start += len(raw) + 1
