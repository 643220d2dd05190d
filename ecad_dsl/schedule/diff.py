"""Two schedules compared: by what they do to the cells and, where both are programs, by their rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Literal

from ecad_dsl.errors import EcadError
from ecad_dsl.language import format_statement, tree
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.schedule.compile import compile
from ecad_dsl.schedule.cost import component_cells
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.source import rewrite_aliases

Kind = Literal["same", "changed", "moved", "removed", "added"]


@dataclass(frozen=True)
class RuleChange:
    """What became of one rule or ``let``, as canonical text: None where it is not there.

    A rule that is moved comes twice, where it was and where it is; so that a list of changes reads like a diff.
    """

    kind: Kind
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ComponentDiff:
    """Cells of one component that only one of two schedules recomputes."""

    stack: str
    component: str
    only_a: int
    only_b: int


@dataclass(frozen=True)
class Diff:
    """Two schedules of one model and one number of steps.

    Raises:
        EcadError: their models or numbers of steps differ.
    """

    a: Schedule
    b: Schedule
    rules: tuple[RuleChange, ...] | None = None
    """What became of the rules; None unless both are programs."""

    def __post_init__(self) -> None:
        mismatch = difference_of_shape(self.a, self.b)
        if mismatch is not None:
            raise EcadError(f"{mismatch}; `ecad.retarget` rewrites a program for another model or number of steps")

    @property
    def same(self) -> bool:
        return self.a.rows == self.b.rows

    @cached_property
    def only_a(self) -> tuple[int, ...]:
        """The cells of each step that are recomputed in A and reused in B, as bits of a row."""
        return tuple(a & ~b for a, b in zip(self.a.rows, self.b.rows, strict=True))

    @cached_property
    def only_b(self) -> tuple[int, ...]:
        return tuple(b & ~a for a, b in zip(self.a.rows, self.b.rows, strict=True))

    @property
    def by_component(self) -> list[ComponentDiff]:
        """Every component of every stack, in the order of the spec."""
        masks = [(s, c, sum(1 << bit for bit in bits)) for s, c, bits in component_cells(self.a.spec)]
        return [
            ComponentDiff(stack, component, _count(self.only_a, mask), _count(self.only_b, mask))
            for stack, component, mask in masks
        ]


def diff(
    a: tree.Program | Schedule,
    b: tree.Program | Schedule,
    model: str | ModelSpec | None = None,
    steps: int | None = None,
) -> Diff:
    """What two schedules do differently, cell by cell and, where both are programs, rule by rule.

    Args:
        a: a program, or the masks of one.
        b: another.
        model: as for :func:`compile`; a program that names none is otherwise seen on the other's model.
        steps: as for :func:`compile`, likewise.

    Raises:
        CompileError: a program has mistakes, or nobody says for which model or how many steps it is.
        EcadError: the models or numbers of steps of the two differ.
    """
    return Diff(
        _seen_beside(b, a, model, steps),
        _seen_beside(a, b, model, steps),
        tuple(diff_rules(a, b)) if isinstance(a, tree.Program) and isinstance(b, tree.Program) else None,
    )


def _seen_beside(
    other: tree.Program | Schedule, one: tree.Program | Schedule, model: str | ModelSpec | None, steps: int | None
) -> Schedule:
    if isinstance(one, Schedule):
        return one
    others = other.spec if isinstance(other, Schedule) else other.model
    return compile(one, model or one.model or others, steps or one.steps or other.steps)


def difference_of_shape(a: Schedule, b: Schedule) -> str | None:
    """Why the cells of two schedules cannot be compared; None if they can."""
    if a.spec != b.spec:
        models = " and ".join(f"{one.spec.title} ({one.spec.blocks} blocks)" for one in (a, b))
        return f"the two are for different models, {models}"
    return f"the two are for {a.steps} and {b.steps} steps" if a.steps != b.steps else None


def _count(rows: Sequence[int], mask: int) -> int:
    return sum((row & mask).bit_count() for row in rows)


def diff_rules(a: tree.Program, b: tree.Program) -> list[RuleChange]:
    """Rules and ``let`` statements of both, in order, comments and layout left out.

    A rule is *changed* where it differs in one of its clauses and stands at the same place, a ``let`` where it binds
    the same name to something else. Other differences are a removal and an addition.
    """
    before, after = _statements(a), _statements(b)
    old, new = [format_statement(s) for s in before], [format_statement(s) for s in after]
    changes: list[RuleChange] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            changes += [RuleChange("same", text, text) for text in old[i:i_end]]
        else:
            changes += _replaced(before[i:i_end], after[j:j_end])
    return _with_moves(changes)


def _statements(program: tree.Program) -> list[tree.Rule | tree.Let]:
    if program.model in spec_names():
        program = rewrite_aliases(program, load_spec(program.model))
    return [statement for statement in program.statements if isinstance(statement, tree.Rule | tree.Let)]


def _replaced(before: Sequence[tree.Rule | tree.Let], after: Sequence[tree.Rule | tree.Let]) -> Iterator[RuleChange]:
    """Pairs of what is likely one rule, in order; what stands before the later half of a pair was added or removed."""
    at = 0
    for statement in before:
        mate = next((k for k in range(at, min(at + _REACH, len(after))) if _is_edit(statement, after[k])), None)
        if mate is None:
            yield RuleChange("removed", format_statement(statement), None)
            continue
        yield from (RuleChange("added", None, format_statement(new)) for new in after[at:mate])
        yield RuleChange("changed", format_statement(statement), format_statement(after[mate]))
        at = mate + 1
    yield from (RuleChange("added", None, format_statement(new)) for new in after[at:])


def _is_edit(before: tree.Rule | tree.Let, after: tree.Rule | tree.Let) -> bool:
    if isinstance(before, tree.Let) or isinstance(after, tree.Let):
        return isinstance(before, tree.Let) and isinstance(after, tree.Let) and before.name == after.name
    differing = [clause for clause in _CLAUSES if getattr(before, clause) != getattr(after, clause)]
    return len(differing) == 1


_CLAUSES = ("action", "components", "blocks", "every", "steps")
_REACH = 20
"""How far ahead the other half of a pair is looked for: people edit in place, and programs may have 10,000 rules."""


def _with_moves(changes: Sequence[RuleChange]) -> list[RuleChange]:
    """What is removed at one place and added, word for word, at another has moved."""
    gone = Counter(change.before for change in changes if change.kind == "removed")
    come = Counter(change.after for change in changes if change.kind == "added")
    moved = gone & come
    left = {"removed": Counter(moved), "added": Counter(moved)}
    result = []
    for change in changes:
        text = change.before if change.kind == "removed" else change.after
        if change.kind in left and left[change.kind][text]:
            left[change.kind][text] -= 1
            result.append(RuleChange("moved", change.before, change.after))
        else:
            result.append(change)
    return result
