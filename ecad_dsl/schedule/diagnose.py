"""All that is wrong with a text, and the text put right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ecad_dsl.language.diagnostics import Diagnostic, Fix, in_text_order
from ecad_dsl.language.parser import recover
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.compile import check
from ecad_dsl.schedule.lint import lint

_MAX_ROUNDS = 100
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def diagnose(
    text: str | bytes, filename: str = "<text>", model: str | ModelSpec | None = None, steps: int | None = None
) -> list[Diagnostic]:
    """Every mistake in a text, of form and of meaning, then the warnings; each in the order of the text.

    Nothing is reported that only follows from another mistake.
    """
    program, mistakes = recover(text, filename)
    found = mistakes + check(program, model, steps)
    if not mistakes:
        # Whether a rule or a name is of use cannot be said while others are not understood.
        meant = {error.fix.text for error in found if error.fix is not None}
        wrong = {error.span for error in found}
        found += [w for w in lint(program, model, steps) if _unused_name(w) not in meant and w.span not in wrong]
    return sorted(in_text_order(found), key=lambda diagnostic: not diagnostic.is_error)


def _unused_name(warning: Diagnostic) -> str | None:
    """The name that a warning says is not used. If a misspelt word means it, then it is."""
    if warning.code != "W308" or warning.source is None or warning.span is None:
        return None
    return warning.source.text[slice(*warning.span)]


class Fixed(NamedTuple):
    """A text after as many fixes as were ``applied`` to it, and what is still wrong with it."""

    text: str
    left: list[Diagnostic]
    applied: int


def fix(text: str, filename: str = "<text>", model: str | ModelSpec | None = None, steps: int | None = None) -> Fixed:
    """Apply fixes until there are none left. Everything that they do not touch stays as it is, byte for byte.

    A fix may bring to light what a mistake has hidden. The result is the last text with the fewest errors, so that it
    never has more than the text given. Warnings are put right in a text without errors only: no line is left out of one
    that has been guessed at.
    """
    start = _BOM if text.startswith(_BOM) else ""
    body = text.removeprefix(_BOM)  # of which every place in a text is counted
    best = Fixed(text, diagnose(body, filename, model, steps), 0)
    found, applied = best.left, 0
    guessing = _errors(found) > 0
    for _ in range(_MAX_ROUNDS):
        fixes = _together([diagnostic for diagnostic in found if diagnostic.is_error == guessing])
        if not fixes:
            break
        body = _apply(body, fixes)
        applied += len(fixes)
        found = diagnose(body, filename, model, steps)
        if _errors(found) <= _errors(best.left):
            best = Fixed(start + body, found, applied)
    return best


def _together(found: list[Diagnostic]) -> list[Fix]:
    """Fixes that may be applied in one go, in the order of the text: those that do not touch each other."""
    fixes: list[Fix] = []
    for diagnostic in in_text_order(found):
        fix = diagnostic.fix
        if fix is not None and (not fixes or fix.span.start > fixes[-1].span.stop):
            fixes.append(fix)
    return fixes


def _apply(text: str, fixes: Iterable[Fix]) -> str:
    parts, end = [], 0
    for fix in fixes:
        parts += [text[end : fix.span.start], fix.text]
        end = fix.span.stop
    return "".join([*parts, text[end:]])


def _errors(found: list[Diagnostic]) -> int:
    return sum(diagnostic.is_error for diagnostic in found)
