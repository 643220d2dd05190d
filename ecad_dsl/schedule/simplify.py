"""A shorter program that means the same: named rewrites first, then the search that decompiles the schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ecad_dsl.errors import EcadError
from ecad_dsl.language import tree
from ecad_dsl.language.formatter import format_statement
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.schedule.compile import CompileError, check, compile
from ecad_dsl.schedule.recompile import Recompiler
from ecad_dsl.schedule.rewrites import JUDGED, PORTABLE, Rewrite, Site
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.target import settle


def simplify(
    program: tree.Program,
    model: str | ModelSpec | None = None,
    steps: int | None = None,
    *,
    effort: float = 1.0,
    progress: Callable[[float], None] = lambda _: None,
) -> tree.Program:
    """A program with the same schedule, never longer than this one by its ``length``.

    Where the model and the number of steps are known, named by the program or given, the result means the same for
    these two, and says so: what the program leaves to the caller is written down, unless the result means the same
    everywhere. A portable program of which they are not known stays portable: it is rewritten only in ways that hold
    on every model and for every number of steps.

    Comments stay with the rules that stay, and with those that two rules are merged into. What is left out takes the
    comments right above and beside it along; those that open the program, or that a blank line parts from what is left
    out, stay. Only where the search finds a shorter program of other rules are the comments of all rules lost.

    Args:
        program: what to simplify.
        model: as for :func:`compile`.
        steps: as for :func:`compile`.
        effort: how long to search, as a multiple of what :func:`decompile` takes by default; 0 leaves it at
            rewrites, and so do more steps than it takes.
        progress: called during the search with the share that is done, from 0 to 1.

    Raises:
        CompileError: the program has mistakes.
        EcadError: ``effort`` is negative or not finite.
    """
    if not 0 <= effort < float("inf"):
        raise EcadError(f"the effort must be a number from 0 up, not {effort}")
    schedule = known_schedule(program, model, steps)
    if schedule is None:
        return rewrite(program, PORTABLE)
    result = _shortest(program, schedule, effort, progress)
    if None not in (program.model, program.steps) or result == rewrite(program, PORTABLE):
        return result
    return with_target(result, schedule.spec, schedule.steps)


def _shortest(
    program: tree.Program, schedule: Schedule, effort: float, progress: Callable[[float], None]
) -> tree.Program:
    rewritten = rewrite(program, PORTABLE + JUDGED, schedule)
    from ecad_dsl.schedule.decompile import MAX_STEPS, decompile

    if not effort or schedule.steps > MAX_STEPS:
        return rewritten
    found = decompile(schedule, effort=effort, progress=progress)
    searched = rewrite(_with_rules(program, found.rules), PORTABLE + JUDGED, schedule)
    return searched if searched.length < rewritten.length else rewritten


def rewrite(program: tree.Program, rewrites: Sequence[Rewrite], schedule: Schedule | None = None) -> tree.Program:
    """Rewrite until no rewrite has anything shorter to propose that keeps the schedule (or, without one, compiles)."""
    program = replace(program, source=None)  # spans would point into a text that this is no longer
    keeps = _is_free_of_errors if schedule is None else _keeps(schedule)
    while True:
        before, index = program, 0
        while index < len(program.statements):
            shorter = (p for p in proposals(program, index, rewrites, schedule) if _is_shorter(p, program))
            better = next(filter(keeps, shorter), None)
            if better is None:
                index += 1
            else:
                program = better
        if program is before:
            return program


def proposals(
    program: tree.Program, index: int, rewrites: Sequence[Rewrite], schedule: Schedule | None
) -> Iterator[tree.Program]:
    """What the rewrites propose for one statement."""
    site = Site(program, index, schedule.spec, schedule.steps) if schedule is not None else Site(program, index)
    for propose in rewrites:
        yield from propose(site)


def known_schedule(program: tree.Program, model: str | ModelSpec | None, steps: int | None) -> Schedule | None:
    """The schedule of a program; None if it has no mistakes, but model or number of steps are not known.

    Raises:
        CompileError: the program has mistakes.
    """
    found = check(program, model, steps)
    if any(diagnostic.is_error for diagnostic in found):
        raise CompileError(found)
    target = settle(program, model, steps)
    return None if target.spec is None or target.steps is None else compile(program, target.spec, target.steps)


def _is_free_of_errors(program: tree.Program) -> bool:
    return not any(diagnostic.is_error for diagnostic in check(program))


def _keeps(schedule: Schedule) -> Callable[[tree.Program], bool]:
    """Whether a program, for the same model and number of steps, has this schedule."""
    recompile = Recompiler(schedule.spec, schedule.steps)

    def has_schedule(program: tree.Program) -> bool:
        again = recompile(program)
        return again is not None and again.rows == schedule.rows

    return has_schedule


def _is_shorter(program: tree.Program, other: tree.Program) -> bool:
    """By the description length; between equals by the number of statements, then by the text."""
    return _size(_own(program, other)) < _size(_own(other, program))


def _own(program: tree.Program, other: tree.Program) -> list[tree.Statement]:
    """The statements that are in this one of two programs alone; variants of a program share most of them."""
    shared = Counter(map(id, other.statements))
    own = []
    for statement in program.statements:
        if shared[id(statement)]:
            shared[id(statement)] -= 1
        else:
            own.append(statement)
    return own


def _size(statements: Sequence[tree.Statement]) -> tuple[int, int, int, int]:
    rules = [statement for statement in statements if isinstance(statement, tree.Rule)]
    characters = sum(len(format_statement(statement)) for statement in statements)
    return len(rules), sum(rule.literals for rule in rules), len(statements), characters


def with_target(program: tree.Program, spec: ModelSpec, steps: int) -> tree.Program:
    """The program with a model and a number of steps, where it says none. Only a shipped spec has a name to write."""
    added: list[tree.Statement] = []
    if program.model is None and spec.name in spec_names() and load_spec(spec.name) == spec:
        added.append(tree.Model(spec.name))
    if program.steps is None:
        added.append(tree.Steps(steps))
    statements = program.statements
    at = next((index + 1 for index, statement in enumerate(statements) if isinstance(statement, tree.Model)), 0)
    if added and statements and at == 0:
        # Comments that open the program go on opening it: those above the last blank line, or all where there is none.
        above = statements[0].above
        own = next((n for n, line in enumerate(reversed(above)) if not line), 0)
        added[0] = replace(added[0], above=above[: len(above) - own])
        statements = (replace(statements[0], above=above[len(above) - own :]), *statements[1:])
    return replace(program, statements=(*statements[:at], *added, *statements[at:]))


def _with_rules(program: tree.Program, rules: Sequence[tree.Rule]) -> tree.Program:
    """The program with other rules. Comments that open it stay, also where they stood above a rule."""
    header = [statement for statement in program.statements if not isinstance(statement, tree.Rule)]
    opening = program.statements[:1]
    if opening and isinstance(opening[0], tree.Rule) and opening[0].above:
        if header:
            header[0] = replace(header[0], above=opening[0].above + header[0].above)
        elif rules:
            rules = [replace(rules[0], above=opening[0].above), *rules[1:]]
        else:
            return replace(program, statements=(), below=opening[0].above + program.below)
    return replace(program, statements=(*header, *rules))
