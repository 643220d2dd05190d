"""Source text and places in it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Span(NamedTuple):
    """A half-open range of characters of a source text."""

    start: int
    stop: int


class Position(NamedTuple):
    """A place as people count it: lines and columns from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Source:
    """A program's text, without byte-order mark, and the name of the file that it came from."""

    text: str
    filename: str = "<text>"

    @cached_property
    def _line_starts(self) -> list[int]:
        starts, at = [0], self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts

    def position(self, offset: int) -> Position:
        line = bisect_right(self._line_starts, offset)
        return Position(line, offset - self._line_starts[line - 1] + 1)

    def line(self, number: int) -> Span:
        """Where the line of this number, counted from 1, stands; its line end is left out."""
        start = self._line_starts[number - 1]
        stop = self._line_starts[number] - 1 if number < len(self._line_starts) else len(self.text)
        return Span(start, stop - self.text.endswith("\r", start, stop))
