"""From selectors to cells and steps: names looked up, ranges counted out, every mistake reported.

A :class:`Resolver` works with what is known. Without a model it still finds ranges that run backwards; without a
number of steps it still finds a block that does not exist.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import compress
from typing import NamedTuple, TypeAlias

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Fix, Severity, closest, correction
from ecad_dsl.language.formatter import Part, format_part
from ecad_dsl.language.parser import MAX_MISTAKES
from ecad_dsl.language.text import Span
from ecad_dsl.models import ROLES, ModelSpec, load_spec, spec_names

Selector: TypeAlias = tree.Components | tuple[tree.BlockTerm, ...] | tree.StepSelector
_Counted: TypeAlias = tree.FirstBlocks | tree.LastBlocks | tree.FirstSteps | tree.LastSteps
_NOTHING = range(0)


class _Bound(NamedTuple):
    """What a name stands for: "components" or "blocks" (bits of a row), or "steps" (in ascending order)."""

    kind: str
    bits: int
    steps: Sequence[int]
    lenient: bool
    silent: bool


@dataclass(frozen=True)
class _Axis:
    """What a range counts, and how to say so. ``count`` is None while it is not known."""

    noun: str
    owner: str
    code: str
    count: int | None
    lenient: bool

    @property
    def extent(self) -> str | None:
        return f"{self.noun}s run from 0 to {self.count - 1}" if self.count else None


class Resolver:
    """Looks up the selectors of one program, a statement at a time; mistakes are collected in ``found``.

    Two flags belong to the statement in hand (see :meth:`begin`). ``lenient``: something in it came from a role, a
    percentage or a word such as `even`, so that being empty is worth a warning, not an error. ``silent``: something
    about it has been reported, so that its being empty is no news.
    """

    def __init__(self, program: tree.Program, spec: ModelSpec | None, steps: int | None) -> None:
        self.found: list[Diagnostic] = []
        self.lenient = self.silent = False
        self._source = program.source
        self._spec = spec
        self._portable = program.model is None
        self._step_axis = _Axis("step", "there is", "E204", steps, self._portable and program.steps is None)
        self._block_axes: dict[str | None, _Axis] = {}
        # A statement that could not be read binds its name to what nobody knows.
        self._bound = {name: _Bound("nothing", 0, (), lenient=True, silent=True) for name in program.broken}
        self._lets = {s.name: s for s in program.statements if isinstance(s, tree.Let)}

    def begin(self) -> None:
        """Start on the next statement."""
        self.lenient = self._portable
        self.silent = False

    def error(
        self,
        code: str,
        message: str,
        span: Span | None,
        label: str | None = None,
        help_: str | None = None,
        *,
        fix: Fix | None = None,
    ) -> None:
        self.silent = True
        self.found.append(Diagnostic(code, Severity.ERROR, message, span, label, help_, self._source, fix))

    def warn(
        self, code: str, message: str, span: Span | None, label: str | None = None, help_: str | None = None
    ) -> None:
        self.silent = True
        self.found.append(Diagnostic(code, Severity.WARNING, message, span, label, help_, self._source))

    def rewritten(self, node: Part, span: Span | None) -> tuple[str, Fix | None]:
        """Help that says to write a part of a statement like this, and the fix that does."""
        text = format_part(node)
        # A comment may stand between two lines.
        is_sure = self._source is not None and span is not None and "\n" not in self._source.text[slice(*span)]
        return f"write {text}", Fix(span, text) if is_sure and span is not None else None

    def _guess(self, word: str, candidates: Iterable[str], span: Span | None) -> tuple[str | None, Fix | None]:
        """Help for a misspelt word. Guessing is slow, and nobody needs it for more mistakes than a file can have."""
        return correction(word, candidates, span) if len(self.found) < MAX_MISTAKES else (None, None)

    # Names.

    def bind(self, let: tree.Let) -> None:
        """Give a name its meaning for the statements that follow."""
        self.begin()
        self._check_free(let)
        if not self.silent and let.name in names_in(let.value):
            self.error("E206", f"`{let.name}` is bound to itself", let.span, None, "say what it stands for")
            meaning: tuple[str, int, Sequence[int]] = ("nothing", 0, ())
        else:
            meaning = self._evaluate(let.value)
        self._bound.setdefault(let.name, _Bound(*meaning, self.lenient, self.silent))

    def _check_free(self, let: tree.Let) -> None:
        span = let.name_span or let.span
        if let.name in self._bound:
            self.error("E208", f"`{let.name}` is bound twice", span, None, "give one of the two another name")
        elif let.name in ROLES or (self._spec is not None and self._spec.select(let.name) is not None):
            message = f"`{let.name}` already names components"
            self.error("E208", message, span, None, "choose another name")

    def _evaluate(self, value: Selector) -> tuple[str, int, Sequence[int]]:
        match value:
            case tree.Components():
                return "components", self.components(value), ()
            case tuple():
                return "blocks", self.blocks(value), ()
            case tree.Name():
                bound = self._look_up(value.name, value.span)
                return (bound.kind, bound.bits, bound.steps) if bound else ("nothing", 0, ())
            case _:
                return "steps", 0, self.steps(value)

    def _look_up(self, name: str, span: Span | None, wanted: str | None = None) -> _Bound | None:
        """The meaning of a bound name; None, after a report, if it has none of the kind that is wanted."""
        bound = self._bound.get(name)
        if bound is None:
            self._unknown_name(name, span)
        elif wanted not in (None, bound.kind):
            # A binding that failed has been reported where it stands.
            if bound.kind == "nothing":
                self.silent = True
            else:
                self.error("E207", f"`{name}` stands for {bound.kind}, not for {wanted}", span)
            return None
        else:
            self.lenient = self.lenient or bound.lenient
            self.silent = self.silent or bound.silent
        return bound

    def _unknown_name(self, name: str, span: Span | None) -> None:
        if name in self._lets:
            message = f"`{name}` is used before it is bound"
            self.error("E206", message, span, None, f"move `let {name}` above its first use")
        else:
            help_, fix = self._guess(name, self._lets, span)
            self.error("E206", f"no `let` binds `{name}`", span, None, help_, fix=fix)

    # Components.

    def components(self, node: tree.Components) -> int:
        """Cells, as bits of a row, of the components in every block."""
        bits = without = 0
        for index, name in enumerate(node.names):
            bits |= self._component(name, node, index)
        for index, name in enumerate(node.excluded, start=len(node.names)):
            without |= self._component(name, node, index)
        return bits & ~without

    def _component(self, name: str, node: tree.Components, index: int) -> int:
        spec = self._spec
        bits = spec.component_bits(name) if spec is not None else None
        if spec is None or bits is None:
            return self._foreign_component(name, node.where(index))
        if name in spec.groups:
            self.lenient = True
        if not bits and index < len(node.names):
            self.warn("W302", f"{spec.title} has no component for the role `{name}`", node.where(index))
        return bits

    def _foreign_component(self, name: str, span: Span | None) -> int:
        """A name in the place of a component that the model, if there is one, does not have."""
        if name in self._lets or name in self._bound:
            bound = self._look_up(name, span, "components")
            return bound.bits if bound else 0
        if self._spec is not None:
            title, names = self._spec.title, ", ".join(self._spec.component_names)
            help_, fix = self._guess(name, (*self._spec.names, *self._lets), span)
            self.error(
                "E202", f"{title} has no component `{name}`", span, f"its components are {names}", help_, fix=fix
            )
        elif name not in _shipped_names():
            help_, _ = self._guess(name, (*_shipped_names(), *self._lets), span)
            self.warn("W304", f"no model known by name has a component `{name}`", span, None, help_)
        return 0

    # Blocks.

    def blocks(self, terms: tuple[tree.BlockTerm, ...]) -> int:
        """All cells, as bits of a row, of the blocks that the terms select together."""
        bits = 0
        for term in terms:
            if isinstance(term, tree.Name):
                bound = self._look_up(term.name, term.span, "blocks")
                bits |= bound.bits if bound else 0
            else:
                bits |= self._block_term(term)
        return bits

    def _block_term(self, term: tree.StackTerm) -> int:
        spec = self._spec
        blocks = spec.blocks_of(term.stack) if spec is not None else None
        if spec is not None and blocks is None:
            self._unknown_stack(spec, term)
            return 0
        axis = self._block_axis(term.stack, None if blocks is None else len(blocks))
        match term:
            case tree.BlockRange(items=items):
                chosen = [self._range(item, axis) for item in items]
            case tree.FirstBlocks():
                chosen = [self._first(term, axis)]
            case tree.LastBlocks():
                chosen = [self._last(term, axis)]
            case tree.EvenBlocks():
                chosen = [self._alternate(0, axis)]
            case tree.OddBlocks():
                chosen = [self._alternate(1, axis)]
            case tree.AllBlocks():
                chosen = [range(axis.count or 0)]
        if spec is None or blocks is None:
            return 0
        bits = 0
        for local in chosen:
            bits |= spec.block_bits(blocks[local.start : local.stop : local.step])
        return bits

    def _block_axis(self, stack: str | None, count: int | None) -> _Axis:
        axis = self._block_axes.get(stack)
        if axis is None:
            owner = f"{self._spec.title} has" if self._spec is not None else "there is"
            axis = _Axis(f"{stack} block" if stack else "block", owner, "E203", count, self._portable)
            self._block_axes[stack] = axis
        return axis

    def _unknown_stack(self, spec: ModelSpec, term: tree.StackTerm) -> None:
        stacks = [stack.name for stack in spec.stacks]
        message = f"{spec.title} has no stack `{term.stack}`"
        label = f"its stack is {stacks[0]}" if len(stacks) == 1 else f"its stacks are {', '.join(stacks)}"
        match = closest(term.stack or "", stacks)
        help_, fix = self.rewritten(replace(term, stack=match), term.span) if match else (None, None)
        self.error("E205", message, term.span, label, help_, fix=fix)

    # Steps.

    def steps(self, selector: tree.StepSelector | None) -> Sequence[int]:  # noqa: PLR0911 (one for each construct)
        """The steps that a selector selects, in ascending order; all of them for None."""
        axis = self._step_axis
        match selector:
            case None:
                return range(axis.count or 0)
            case tree.Name():
                bound = self._look_up(selector.name, selector.span, "steps")
                return bound.steps if bound else _NOTHING
            case tree.StepRange(items=(item,)):
                return self._range(item, axis)
            case tree.StepRange(items=items):
                return self._union([self._range(item, axis) for item in items], axis)
            case tree.FromTo():
                return self._from_to(selector, axis)
            case tree.FirstSteps():
                return self._first(selector, axis)
            case tree.LastSteps():
                return self._last(selector, axis)
            case tree.EvenSteps():
                return self._alternate(0, axis)
            case tree.OddSteps():
                return self._alternate(1, axis)

    def _union(self, ranges: Sequence[range], axis: _Axis) -> Sequence[int]:
        # Thousands of overlapping ranges are no more work than marking them; two bytes a step, since names keep theirs.
        marks = bytearray(axis.count or 0)
        for steps in ranges:
            marks[steps.start : steps.stop : steps.step] = b"\1" * len(steps)
        return array("H", compress(range(len(marks)), marks))

    def _from_to(self, node: tree.FromTo, axis: _Axis) -> range:
        start, stop = node.start, node.stop
        if start is None:
            start = tree.Percent(0) if isinstance(stop, tree.Percent) else 0
        elif stop is None:
            # An open end reaches the last step, and never makes a start beyond it run backwards.
            stop = tree.Percent(100) if isinstance(start, tree.Percent) else max(_as_int(start), (axis.count or 1) - 1)
        assert stop is not None
        return self._range(tree.Range(start, stop, span=node.span), axis, node)

    # Ranges.

    def _range(self, item: tree.Range, axis: _Axis, written: tree.FromTo | None = None) -> range:
        """The indices of one item, inside what there is. It may be written as `from ... to ...`."""
        first, last = item.first, item.last
        if item.by < 1:
            self.error("E213", "`by 0` never moves on", item.span, None, "leave it out, or write `by 1` or more")
        elif isinstance(first, int) and isinstance(last, int):
            return self._numbers(first, last, item, axis, written or item)
        elif isinstance(first, tree.Percent) and isinstance(last, tree.Percent):
            return self._share(first, last, item, axis, written or item)
        else:
            message = f"{first} and {last} do not mix in one range"
            self.error("E210", message, item.span, None, "write two numbers, or two percentages")
        return _NOTHING

    def _numbers(
        self, first: int, last: int, item: tree.Range, axis: _Axis, written: tree.Range | tree.FromTo
    ) -> range:
        if first > last:
            self._backwards(first, last, written)
            return _NOTHING
        if axis.count is None:
            return _NOTHING
        if last >= axis.count:
            self._beyond(first, last, written, axis)
            last = axis.count - 1
        return range(first, last + 1, item.by)

    def _share(
        self,
        first: tree.Percent,
        last: tree.Percent,
        item: tree.Range,
        axis: _Axis,
        written: tree.Range | tree.FromTo,
    ) -> range:
        self.lenient = True
        if max(first.value, last.value) > 100:
            within = _between(written, first, tree.Percent(100)) if first.value <= 100 else None
            help_, fix = self.rewritten(within, item.span) if within else (None, None)
            self.error("E212", "percentages run from 0 to 100", item.span, None, help_, fix=fix)
            return _NOTHING
        if first.value > last.value:
            self._backwards(first, last, written)
            return _NOTHING
        if axis.count is None:
            return _NOTHING
        return share(first, last, axis.count)[:: item.by]

    def _backwards(self, first: tree.Bound, last: tree.Bound, written: tree.Range | tree.FromTo) -> None:
        message = f"the range runs backwards, from {first} to {last}"
        help_, fix = self.rewritten(_between(written, last, first), written.span)
        self.error("E209", message, written.span, None, f"the smaller comes first: {help_}", fix=fix)

    def _beyond(self, first: int, last: int, written: tree.Range | tree.FromTo, axis: _Axis) -> None:
        message = f"{axis.owner} no {axis.noun} {last}"
        if axis.lenient:
            self.warn("W303", message, written.span, axis.extent)
            return
        final = (axis.count or 0) - 1
        within = _between(written, first, final) if first <= final else None
        help_, fix = self.rewritten(within, written.span) if within else (None, None)
        self.error(axis.code, message, written.span, axis.extent, help_, fix=fix)

    def _first(self, node: tree.FirstBlocks | tree.FirstSteps, axis: _Axis) -> range:
        return range(self._counted(node, axis))

    def _last(self, node: tree.LastBlocks | tree.LastSteps, axis: _Axis) -> range:
        total = axis.count or 0
        return range(total - self._counted(node, axis), total)

    def _counted(self, node: _Counted, axis: _Axis) -> int:
        """As many as the node says, or as there are."""
        count, span = node.count, node.span
        if count < 1:
            self.error("E213", f"0 {axis.noun}s are none", span, None, "write 1 or more, or leave the rule out")
            return 0
        if axis.count is None or count <= axis.count:
            return min(count, axis.count or 0)
        message = f"there are {axis.count} {axis.noun}s, not {count}"
        if axis.lenient:
            self.warn("W303", message, span)
        else:
            _, fix = self.rewritten(replace(node, count=axis.count), span)
            self.error(axis.code, message, span, None, f"write {axis.count} or less", fix=fix)
        return axis.count

    def _alternate(self, first: int, axis: _Axis) -> range:
        self.lenient = True
        return range(first, axis.count or 0, 2)


def share(first: tree.Percent, last: tree.Percent, count: int) -> range:
    """The indices i of ``count`` for which first <= 100 (i + 1/2) / count <= last, in exact integers."""
    over, under = first.value.as_integer_ratio()
    start = -((100 * under - 2 * over * count) // (200 * under))
    over, under = last.value.as_integer_ratio()
    return range(start, (2 * over * count - 100 * under) // (200 * under) + 1)


def _between(node: tree.Range | tree.FromTo, first: tree.Bound, last: tree.Bound) -> tree.Range | tree.FromTo:
    """The same with other bounds."""
    if isinstance(node, tree.Range):
        return replace(node, first=first, last=last, by=1 if first == last else node.by)
    start = None if node.start is None else first
    return replace(node, start=start, stop=None if node.stop is None else last)


def names_in(*parts: object) -> Iterator[str]:
    """The names that stand in selectors."""
    for part in parts:
        match part:
            case tree.Components():
                yield from part.names + part.excluded
            case tree.Name():
                yield part.name
            case tuple():
                yield from names_in(*part)


def _as_int(bound: tree.Bound) -> int:
    assert isinstance(bound, int)
    return bound


@cache
def _shipped_names() -> frozenset[str]:
    """Every name that selects components of some shipped model."""
    return frozenset(name for model in spec_names() for name in load_spec(model).names)
