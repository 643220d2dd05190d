"""Many programs that share most of their statements, compiled for one model and one number of steps."""

from __future__ import annotations

from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.compile import Stroke, paint, strokes
from ecad_dsl.schedule.resolve import Resolver
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.target import Target

_MOST_KNOWN = 10_000


class Recompiler:
    """Compiles the variants of a program; a statement that it has met is not resolved again.

    Statements are told apart by their identity, since variants share them: comparing trees would take longer.
    """

    def __init__(self, spec: ModelSpec, steps: int) -> None:
        self._target = Target(spec, steps)
        self._spec, self._steps = spec, steps
        self._known: dict[tuple[int, ...], tuple[tuple[tree.Statement, ...], list[Stroke] | None]] = {}

    def __call__(self, program: tree.Program) -> Schedule | None:
        """The schedule of a program; None if it has mistakes."""
        rows = [(1 << self._spec.cells) - 1] * self._steps
        above = tuple(s for s in program.statements if not isinstance(s, tree.Rule | tree.Let))
        for statement in program.statements:
            if not isinstance(statement, tree.Rule | tree.Let):
                continue
            painted = self._strokes((*above, statement))
            if painted is None:
                return None
            for stroke in painted:
                paint(rows, stroke)
            if isinstance(statement, tree.Let):
                above = (*above, statement)
        return Schedule(self._spec, tuple(rows))

    def _strokes(self, statements: tuple[tree.Statement, ...]) -> list[Stroke] | None:
        """What the last statement paints below the others; None if there is a mistake in it."""
        key = tuple(map(id, statements))
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            program = tree.Program(statements)
            resolver = Resolver(program, self._spec, self._steps)
            painted = list(strokes(program, self._target, resolver))
            mistaken = any(diagnostic.is_error for diagnostic in resolver.found)
            # The statements are kept so that no other one takes their identity.
            self._known[key] = statements, None if mistaken else painted
        return self._known[key][1]
