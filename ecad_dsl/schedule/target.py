"""What a program is compiled for: which model, how many steps. The program may say it, the caller may, or both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Fix, Severity, correction
from ecad_dsl.language.lines import removal
from ecad_dsl.language.parser import MAX_RULES
from ecad_dsl.language.text import Span
from ecad_dsl.models import ModelSpec, is_spec_file, load_spec, spec_names

MAX_STEPS = 10_000
MAX_CELLS = 50_000_000

_S = TypeVar("_S", tree.Model, tree.Steps)


@dataclass
class Target:
    """The model and the number of steps, each None while nobody says it, and what is wrong with them."""

    spec: ModelSpec | None = None
    steps: int | None = None
    fits: bool = True
    """Whether the schedule is of bounded size."""
    found: list[Diagnostic] = field(default_factory=list)


def settle(program: tree.Program, model: str | ModelSpec | None, steps: int | None) -> Target:
    """The target of a program, given what the caller asks for."""
    return _Settling(program).settle(model, steps)


class _Settling:
    def __init__(self, program: tree.Program) -> None:
        self._program = program
        self._target = Target()

    def settle(self, model: str | ModelSpec | None, steps: int | None) -> Target:
        self._target.spec = self._model(model, self._only(tree.Model))
        self._target.steps = self._steps(steps, self._only(tree.Steps))
        self._target.fits = self._fits()
        return self._target

    def _error(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        *,
        label: str | None = None,
        help_: str | None = None,
        fix: Fix | None = None,
    ) -> None:
        source = self._program.source
        self._target.found.append(Diagnostic(code, Severity.ERROR, message, span, label, help_, source, fix))

    def _only(self, kind: type[_S]) -> _S | None:
        """The statement of this kind, of which a program may have one."""
        statements = [s for s in self._program.statements if isinstance(s, kind)]
        for other in statements[1:]:
            message = f"the program says its {kind.__name__.lower()} twice"
            fix = removal(self._program.source, other.span) if other == statements[0] else None
            self._error("E219", message, other.span, help_="leave out one of the two", fix=fix)
        return statements[0] if statements else None

    def _model(self, model: str | ModelSpec | None, statement: tree.Model | None) -> ModelSpec | None:
        asked = self._asked(model) if isinstance(model, str) else model
        if statement is None or (asked is not None and asked.name == statement.name):
            return asked
        written = self._known(statement.name, statement.name_span or statement.span)
        if asked is None or written is None:
            return asked or written
        if not asked.is_family_of(written):
            message = f"the program is for {written.title}, and {asked.title} is asked for"
            help_ = f"compile it for {written.name}, or leave out `model {written.name}`"
            self._error("E217", message, statement.span, help_=help_)
        return asked

    def _asked(self, name: str) -> ModelSpec | None:
        return load_spec(name) if is_spec_file(name) else self._known(name, None)

    def _known(self, name: str, span: Span | None) -> ModelSpec | None:
        if name in spec_names():
            return load_spec(name)
        label = f"the models are {', '.join(spec_names())}"
        help_, fix = correction(name, spec_names(), span)
        self._error("E201", f"there is no model `{name}`", span, label=label, help_=help_, fix=fix)
        return None

    def _steps(self, asked: int | None, statement: tree.Steps | None) -> int | None:
        span = statement.span if statement is not None else None
        written = statement.count if statement is not None else None
        steps = written if asked is None else asked
        if asked is not None and written is not None and asked != written:
            message = f"the program is for {written} steps, and {asked} are asked for"
            self._error("E218", message, span, help_=f"ask for {written}, or leave out `steps {written}`")
        elif steps is not None and steps < 1:
            self._error("E213", f"a schedule needs at least 1 step, not {steps}", span)
            return None
        if steps is not None and steps > MAX_STEPS:
            self._error("E105", f"{steps:,} steps are too many", span, label=f"the limit is {MAX_STEPS:,}")
        return steps

    def _fits(self) -> bool:
        spec, steps = self._target.spec, self._target.steps or 0
        rules = sum(isinstance(s, tree.Rule) for s in self._program.statements)
        cells = steps * spec.cells if spec is not None else 0
        if rules > MAX_RULES:
            self._error("E104", f"the program has {rules:,} rules", label=f"the limit is {MAX_RULES:,}")
        if steps <= MAX_STEPS and spec is not None and cells > MAX_CELLS:
            message = f"{steps:,} steps of {spec.title} are {cells:,} cells"
            self._error("E106", message, label=f"the limit is {MAX_CELLS:,}", help_="use fewer steps")
        return rules <= MAX_RULES and steps <= MAX_STEPS and cells <= MAX_CELLS
