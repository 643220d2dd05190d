"""Diagnostics: what is wrong with a program, where, and what to write instead."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from ecad_dsl.errors import EcadError
from ecad_dsl.language.text import Source, Span

TITLES = {
    "E101": "the file is not UTF-8 text",
    "E102": "a character that cannot stand in a program",
    "E103": "the file is too large",
    "E104": "too many rules or names",
    "E105": "too many steps",
    "E106": "too many cells",
    "E107": "a word or sign that cannot stand here",
    "E108": "the statement ends too early",
    "E109": "a clause is given twice",
    "E110": "a text in quotes is not well formed",
    "E111": "a number is too large",
    "E112": "a continuation line without a statement to continue",
    "E113": "an unknown statement",
    "E114": "too many mistakes",
    "E201": "unknown model",
    "E202": "unknown component",
    "E203": "no such block",
    "E204": "no such step",
    "E205": "unknown stack",
    "E206": "unknown name",
    "E207": "a name that means something else",
    "E208": "a name that is taken",
    "E209": "a range that runs backwards",
    "E210": "a number and a percentage in one range",
    "E211": "a period or an offset out of range",
    "E212": "a percentage above 100",
    "E213": "a count of zero",
    "E214": "a selection is empty",
    "E215": "the model is not known",
    "E216": "the number of steps is not known",
    "E217": "the program is for another model",
    "E218": "the program is for another number of steps",
    "E219": "a statement is given twice",
    "W301": "a selection is empty",
    "W302": "a role is empty on this model",
    "W303": "a selection reaches beyond what there is",
    "W304": "a name that no shipped model has",
    "W305": "a rule changes nothing",
    "W306": "a rule is wholly overwritten",
    "W307": "reuse is written for step 0",
    "W308": "a name is bound and not used",
    "W309": "a recomputed output is never read",
}
"""Every code and what it stands for. Codes are stable: a code is never given another meaning."""

_WIDEST = 160
"""Longer source lines are shown in part, around the mistake."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Fix:
    """An edit that puts a finding right: ``text`` in place of what stands in ``span``.

    The fix of an error is a guess at what was meant. The fix of a warning never changes what the program means. All
    fixes of the warnings of one program may be applied together.
    """

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One finding.

    ``message`` says what is wrong, ``label`` stands beside the carets and says what would have been right, and
    ``help`` says what to write. ``span`` is None where the mistake is not in the text (an argument of a call).
    ``fix`` is there where one edit alone makes sense.
    """

    code: str
    severity: Severity
    message: str
    span: Span | None = None
    label: str | None = None
    help: str | None = None
    source: Source | None = field(default=None, compare=False, repr=False)
    fix: Fix | None = None

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        """The human rendering, over several lines."""
        lines = [f"{self.severity.value}[{self.code}]: {_short(self.message)}"]
        indent = "  "
        if self.source is not None and self.span is not None:
            line, column = self.source.position(self.span.start)
            indent = " " * (len(str(line)) + 1)
            before, marked, after = _excerpt(self.source.text, self.source.line(line), self.span)
            carets = " " * _width(before) + "^" * max(_width(marked), 1)
            lines += [
                f"{indent}--> {self.source.filename}:{line}:{column}",
                f"{indent} |",
                f" {line} | {before}{marked}{after}",
                f"{indent} | {carets} {self.label or ''}".rstrip(),
            ]
        elif self.label:
            lines.append(f"{indent} = note: {_short(self.label)}")
        if self.help:
            lines.append(f"{indent} = help: {_short(self.help)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. Lines and columns count from 1; the end column is one past the last character."""
        file = {"file": self.source.filename} if self.source is not None else {}
        fix = {**self._place(self.fix.span), "text": self.fix.text} if self.fix is not None else None
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "label": self.label,
            "help": self.help,
            **file,
            **self._place(self.span),
            "fix": fix,
        }

    def _place(self, span: Span | None) -> dict[str, int]:
        if self.source is None or span is None:
            return {}
        line, column = self.source.position(span.start)
        end_line, end_column = self.source.position(span.stop)
        return {"line": line, "column": column, "end_line": end_line, "end_column": end_column}


def _excerpt(text: str, line: Span, mark: Span) -> tuple[str, str, str]:
    """The line before, under and after the mark, fit for a terminal."""
    first, last = line
    if last - first > _WIDEST:
        first = max(first, mark.start - _WIDEST // 4)
        last = min(last, first + _WIDEST)
    stop = max(mark.start, min(mark.stop, last))
    before = "..." * (first > line.start) + _printable(text[first : mark.start])
    return before, _printable(text[mark.start : stop]), _printable(text[stop:last]) + "..." * (last < line.stop)


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _short(text: str) -> str:
    """A message fit for a terminal; it may quote a word of any length."""
    text = _printable(text)
    return text if len(text) <= 2 * _WIDEST else f"{text[:_WIDEST]}...{text[-_WIDEST:]}"


def _printable(text: str) -> str:
    # Tabs would move the carets, and control characters of a binary file would reach the terminal.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.replace("\t", "    "))


def in_text_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sorted by where they begin; those without a place come first."""
    return sorted(diagnostics, key=lambda diagnostic: diagnostic.span.start if diagnostic.span else -1)


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """All of them for human readers, a blank line between each two."""
    return "\n\n".join(str(diagnostic) for diagnostic in diagnostics)


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """All of them as workflow commands, which GitHub shows beside the lines of a pull request."""
    return "\n".join(map(_annotation, diagnostics))


def _annotation(diagnostic: Diagnostic) -> str:
    data = diagnostic.to_dict()
    names = {"file": "file", "line": "line", "column": "col", "end_line": "endLine", "end_column": "endColumn"}
    properties = [f"{names[key]}={_escape(str(data[key]), ':,')}" for key in names if key in data]
    properties.append(f"title={_escape(f'{diagnostic.code}: {TITLES[diagnostic.code]}', ':,')}")
    parts = (diagnostic.message, diagnostic.label, f"help: {diagnostic.help}" if diagnostic.help else None)
    message = "\n".join(_short(part) for part in parts if part)
    return f"::{diagnostic.severity.value} {','.join(properties)}::{_escape(message)}"


def _escape(text: str, separators: str = "") -> str:
    for character in "%\r\n" + separators:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


class DiagnosticError(EcadError):
    """An error made of diagnostics; its message is their human rendering."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__(diagnostics)
        self.diagnostics = tuple(diagnostics)

    def __str__(self) -> str:
        return render(self.diagnostics)


class ScheduleSyntaxError(DiagnosticError):
    """The text is not a program. ``diagnostics`` holds the mistakes of every line."""


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a person who wrote ``word`` most likely meant."""
    from difflib import get_close_matches

    # Matching is quadratic; nobody misspells one of our words with sixty letters, or binds a thousand names.
    matches = get_close_matches(word[:60].lower(), islice(candidates, 1000), n=1, cutoff=0.6)
    return matches[0] if matches else None


def correction(word: str, candidates: Iterable[str], span: Span | None) -> tuple[str | None, Fix | None]:
    """Help that names the closest candidate, if one is close, and the fix that writes it where the word stands."""
    match = closest(word, candidates)
    if match is None:
        return None, None
    return f"did you mean `{match}`?", Fix(span, match) if span is not None else None
