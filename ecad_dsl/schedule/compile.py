"""From a program to its schedule: the rules painted over each other in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, DiagnosticError, Severity, in_text_order
from ecad_dsl.language.text import Span
from ecad_dsl.models import ModelSpec, spec_names
from ecad_dsl.schedule.resolve import Resolver
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.target import Target, settle


class Stroke(NamedTuple):
    """A rule and what it paints. Where a step is in both sequences, its cells are recomputed."""

    rule: tree.Rule
    cells: int
    """Bits of a row; 0 for a rule that selects nothing or is in error."""
    reused: Sequence[int]
    recomputed: Sequence[int]


class CompileError(DiagnosticError):
    """The program does not fit the model or the steps. ``diagnostics`` holds every mistake, and the warnings."""


def compile(program: tree.Program, model: str | ModelSpec | None = None, steps: int | None = None) -> Schedule:
    """The schedule of a program on a model, for a number of steps.

    Args:
        program: the tree.
        model: a spec or its name; None where the program names its model. Another spec of the same family (a smaller
            or larger model of the class) may take the place of the one that the program names.
        steps: None where the program says it.

    Raises:
        CompileError: the program has mistakes, or nobody says for which model or how many steps it is.
    """
    target = settle(program, model, steps)
    _require(target)
    found, rows = _paint_all(program, target)
    if target.spec is None or any(diagnostic.is_error for diagnostic in found):
        raise CompileError(found)
    return Schedule(target.spec, tuple(rows))


def check(program: tree.Program, model: str | ModelSpec | None = None, steps: int | None = None) -> list[Diagnostic]:
    """Everything that :func:`compile` would report, errors and warnings, in the order of the text.

    Where the model or the number of steps is not known, what depends on it is left unchecked.
    """
    found, _ = _paint_all(program, settle(program, model, steps))
    return found


def _require(target: Target) -> None:
    if target.found:
        return
    if target.spec is None:
        help_ = f"pass a model, one of {', '.join(spec_names())}, or write it: `model {spec_names()[0]}`"
        message = "neither the program nor the caller says for which model it is"
        target.found.append(Diagnostic("E215", Severity.ERROR, message, help=help_))
    if target.steps is None:
        message = "neither the program nor the caller says how many steps there are"
        help_ = "pass the number of steps, or write it: `steps 20`"
        target.found.append(Diagnostic("E216", Severity.ERROR, message, help=help_))


def _paint_all(program: tree.Program, target: Target) -> tuple[list[Diagnostic], list[int]]:
    """All findings, and the rows; without rows where the target is not known."""
    rows: list[int] = []
    if not target.fits:
        return target.found, rows
    if target.spec is not None and target.steps is not None:
        rows = [(1 << target.spec.cells) - 1] * target.steps
    resolver = Resolver(program, target.spec, target.steps)
    for stroke in strokes(program, target, resolver):
        if rows:
            paint(rows, stroke)
    return in_text_order(target.found + resolver.found), rows


def strokes(program: tree.Program, target: Target, resolver: Resolver) -> Iterator[Stroke]:
    """What each rule of the program paints, in order; the resolver collects what is wrong with it."""
    for statement in program.statements:
        if isinstance(statement, tree.Rule):
            cells, steps = _select(statement, resolver, target)
            yield _stroke(statement, cells, steps) if cells and steps else Stroke(statement, 0, (), ())
        elif isinstance(statement, tree.Let):
            resolver.bind(statement)


def _select(rule: tree.Rule, resolver: Resolver, target: Target) -> tuple[int, Sequence[int]]:
    """The cells of a row and the steps that a rule touches; none of them if it is in error."""
    resolver.begin()
    components = resolver.components(rule.components)
    blocks = resolver.blocks(rule.blocks) if rule.blocks is not None else -1
    cells = components & blocks
    lenient = resolver.lenient
    steps = resolver.steps(rule.steps)
    if rule.every is not None and not _is_periodic(rule.every, resolver):
        return 0, ()
    if resolver.silent:
        pass  # Whatever emptied the selection has been reported.
    elif target.spec is not None and not cells:
        _report_empty(*_why_empty(rule, components, blocks), resolver, lenient)
    elif target.steps is not None and not steps:
        place = rule.steps.span if rule.steps is not None else None
        _report_empty("the rule selects no step", place or rule.span, resolver, resolver.lenient)
    return cells, steps


def _is_periodic(every: tree.Every, resolver: Resolver) -> bool:
    if every.period < 1:
        resolver.error("E211", "`every 0 steps` never comes round", every.span, None, "write 1 or more")
    elif every.offset >= every.period:
        message = f"the offset {every.offset} reaches beyond the period of {every.period}"
        label = f"offsets run from 0 to {every.period - 1}"
        within = replace(every, offset=every.offset % every.period)
        help_, fix = resolver.rewritten(within, every.span)
        resolver.error("E211", message, every.span, label, help_, fix=fix)
    else:
        return True
    return False


def _why_empty(rule: tree.Rule, components: int, blocks: int) -> tuple[str, Span | None]:
    """What is wrong with a rule that selects no cell, and where."""
    if not components:
        return "the rule selects no component", rule.components.span
    if not blocks and rule.blocks is not None:
        return "the rule selects no block", rule.blocks[0].span
    return "the selected blocks have none of the selected components", rule.components.span


def _report_empty(message: str, span: Span | None, resolver: Resolver, lenient: bool) -> None:
    if lenient:
        resolver.warn("W301", message, span, "nothing changes here")
    else:
        resolver.error("E214", message, span, None, "widen the selection, or leave the rule out")


def _stroke(rule: tree.Rule, cells: int, steps: Sequence[int]) -> Stroke:
    due = steps if rule.every is None else _due(steps, rule.every)
    match rule.action:
        case tree.Action.CACHE:
            return Stroke(rule, cells, steps, steps[:1] if rule.every is None else due)
        case tree.Action.REUSE:
            return Stroke(rule, cells, due, ())
        case tree.Action.RECOMPUTE:
            return Stroke(rule, cells, (), due)


def _due(steps: Sequence[int], every: tree.Every) -> Sequence[int]:
    """The steps of phase 0, counted from the first one."""
    start = steps[0] + every.offset
    if isinstance(steps, range) and steps.step == 1:
        return range(start, steps.stop, every.period)
    return [step for step in steps if (step - start) % every.period == 0]


def paint(rows: list[int], stroke: Stroke) -> None:
    """Paint over the rows of a schedule. A set bit of a row is a cell that is recomputed."""
    if not stroke.cells:
        return
    keep = ~stroke.cells
    for step in stroke.reused:
        rows[step] &= keep
    for step in stroke.recomputed:
        rows[step] |= stroke.cells
