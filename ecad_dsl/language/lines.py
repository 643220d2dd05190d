"""From physical lines to logical statements: comments set aside, continuation lines joined.

Nothing moves on the way. A logical line has as many characters as the piece of source it was made from, comments and
line ends being blanked out, so an offset into it plus its start is an offset into the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ecad_dsl.language.text import Span
from ecad_dsl.language.tree import CLAUSE_WORDS, STATEMENT_WORDS

INDENT = 4
"""Spaces that make a line starting with a clause word a continuation."""

# Everything up to a `#` that is not inside quotes; an unclosed quote reaches to the end of the line.
_CODE = re.compile(r'(?:[^"#]|"(?:[^"\\]|\\.)*(?:"|\\?$))*')
_FIRST_WORD = re.compile(r"\s*([a-z_][a-z0-9_.-]*)")
_OPEN_END = re.compile(r"(?:,|\band)\s*$")


class Line(NamedTuple):
    """A physical line: its code, and its comment with the ``#``."""

    start: int
    length: int
    code: str
    comment: str | None


@dataclass
class Logical:
    """One statement as text, with the comments that belong to it."""

    start: int
    text: str
    above: list[str] = field(default_factory=list)
    beside: str | None = None

    @property
    def span(self) -> Span:
        lead = len(self.text) - len(self.text.lstrip())
        return Span(self.start + lead, self.start + len(self.text.rstrip()))

    @property
    def first_word(self) -> str | None:
        return first_word(self.text)

    def extend(self, line: Line, between: list[str]) -> None:
        """Join a continuation line. Comments inside a statement move above it."""
        if self.beside is not None:
            self.above.append(self.beside)
        self.above += [comment for comment in between if comment]
        self.text = self.text.ljust(line.start - self.start) + line.code
        self.beside = line.comment


def first_word(code: str) -> str | None:
    match = _FIRST_WORD.match(code)
    return match[1] if match else None


def logical_lines(text: str) -> tuple[list[Logical], list[str]]:
    """The statements of a text, and the comments below the last one. Blank lines are empty comments."""
    statements: list[Logical] = []
    gap: list[str] = []
    for line in _physical_lines(text):
        if not line.code.strip():
            if line.comment:
                gap.append(line.comment)
            elif gap[-1:] != [""]:
                gap.append("")
        elif statements and _continues(statements[-1].text, line.code):
            statements[-1].extend(line, gap)
            gap = []
        else:
            statements.append(Logical(line.start, line.code, gap, line.comment))
            gap = []
    return statements, gap


def _continues(before: str, code: str) -> bool:
    word = first_word(code)
    if word in STATEMENT_WORDS:
        # These begin a statement and nothing else, so a dangling comma above is the mistake of its own line.
        return False
    if word in CLAUSE_WORDS and _indentation(code) >= INDENT:
        return True
    return _OPEN_END.search(before) is not None


def _indentation(code: str) -> int:
    expanded = code.expandtabs(INDENT)
    return len(expanded) - len(expanded.lstrip())


def _physical_lines(text: str) -> Iterator[Line]:
    start = 0
    for raw in text.split("\n"):
        line = raw.removesuffix("\r")
        code = line
        if "#" in line:
            match = _CODE.match(line)
            code = match[0] if match else ""
        yield Line(start, len(raw), code.rstrip(), line[len(code) :].rstrip() or None)
        start += len(raw) + 1
