"""What is probably not meant: rules without effect, names without use, outputs that are computed and never read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import NamedTuple

from ecad_dsl.language import tree
from ecad_dsl.language.diagnostics import Diagnostic, Fix, Severity, in_text_order
from ecad_dsl.language.formatter import format_part
from ecad_dsl.language.lines import removal
from ecad_dsl.language.text import Span
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.compile import Stroke, strokes
from ecad_dsl.schedule.layers import Layer, layers
from ecad_dsl.schedule.resolve import Resolver, names_in
from ecad_dsl.schedule.sentences import listed
from ecad_dsl.schedule.target import settle

_MOST_NAMED = 4
"""Of more rules than these, a message names the first ones."""
MAX_FOLLOWED = 1_000_000
"""Rules times steps. What becomes of the cells of a larger program is not followed; that would take minutes."""


def lint(program: tree.Program, model: str | ModelSpec | None = None, steps: int | None = None) -> list[Diagnostic]:
    """Warnings beyond those of :func:`check`, in the order of the text.

    Where the model or the number of steps is not known, or the program has errors, only what can be said without its
    cells is reported. A selection that is empty is left to :func:`check`.
    """
    linter = _Linter(program)
    linter.report_unused_lets()
    target = settle(program, model, steps)
    live: Iterable[tree.Rule] = program.rules
    bounded = target.fits and len(program.rules) * (target.steps or 0) <= MAX_FOLLOWED
    if bounded and target.spec is not None and target.steps is not None:
        resolver = Resolver(program, target.spec, target.steps)
        painted = list(strokes(program, target, resolver))
        if not any(diagnostic.is_error for diagnostic in target.found + resolver.found):
            feeders = _feeders(target.spec)
            followed = _follow(painted, target.spec, target.steps, feeders)
            fates = [fate for fate, stroke in zip(followed, painted, strict=True) if stroke.cells]
            linter.report_idle([fate for fate in fates if not fate.changes])
            linter.report_unread(fates, feeders)
            live = [fate.rule for fate in fates if fate.changes]
    linter.report_step_0(live)
    return in_text_order(linter.found)


@dataclass
class _Fate:
    """What becomes of the cells that one rule paints. Step 0 is left out: its cells are recomputed whatever is said."""

    number: int
    """Which rule of the program it is, counted from 0."""
    rule: tree.Rule
    never_due: bool
    paints: bool = False
    shows: bool = False
    """Some cell is not overwritten."""
    changes: bool = False
    """Some cell is not overwritten, and would be otherwise without the rule."""
    overwritten_by: set[int] = field(default_factory=set)
    """Numbers of the first rules that have the last word on the cells that are overwritten: as many as are named, and
    one more if there is one."""
    unread: dict[int, int] = field(default_factory=dict)
    """For some steps the cells (bits of a row) that are recomputed for nobody, and that this rule answers for."""


class _Feeder(NamedTuple):
    """A component whose output is read by one other component of its block alone."""

    name: str
    reader: str
    stack: str
    cells: int
    """Its bits in a row."""
    shift: int
    """From the bit of its reader to its own."""

    def of_readers(self, cells: int) -> int:
        """The cells of this component whose readers are among ``cells``."""
        return (cells << self.shift if self.shift > 0 else cells >> -self.shift) & self.cells


def _feeders(spec: ModelSpec) -> list[_Feeder]:
    feeders = []
    for stack in spec.stacks:
        width, names = len(stack.components), [component.name for component in stack.components]
        for index, component in enumerate(stack.components):
            if component.feeds is not None:
                first = spec.offsets[stack.name] + index
                cells = sum(1 << first + block * width for block in range(stack.blocks))
                shift = index - names.index(component.feeds)
                feeders.append(_Feeder(component.name, component.feeds, stack.name, cells, shift))
    return feeders


def _follow(strokes: Sequence[Stroke], spec: ModelSpec, steps: int, feeders: Sequence[_Feeder]) -> list[_Fate]:
    """The fate of each rule. The steps are met backwards, so that later reads of a kept output are known."""
    fates = [
        _Fate(number, stroke.rule, never_due=not stroke.reused and not stroke.recomputed)
        for number, stroke in enumerate(strokes)
    ]
    read_later = 0
    for step, row, found in layers(strokes, spec, steps):
        shown = _witness(fates, found)
        read = read_later
        for feeder in feeders:
            read |= feeder.of_readers(row)
        if feeders:
            _blame(shown, row, read, step, feeders)
        read_later = read & ~row
    return fates


def _witness(fates: Sequence[_Fate], found: Iterable[Layer]) -> list[tuple[_Fate, int]]:
    """Put down what happens to the rules at one step. Those with the last word on some cells come back with them."""
    shown: list[tuple[_Fate, int]] = []
    for layer in found:
        fate = fates[layer.number]
        fate.paints = True
        if layer.visible != layer.painted:
            over = {other.number for other, cells in shown if cells & layer.painted}
            fate.overwritten_by = set(sorted(fate.overwritten_by | over)[: _MOST_NAMED + 1])
        if layer.visible:
            fate.shows = True
            fate.changes = fate.changes or layer.changed != 0
            shown.append((fate, layer.visible))
    return shown


def _blame(shown: Sequence[tuple[_Fate, int]], row: int, read: int, step: int, feeders: Sequence[_Feeder]) -> None:
    """Put down each unread recompute to the rule that painted it or, if none did, to the one that reuses its reader."""
    painted = 0
    for _, cells in shown:
        painted |= cells
    for feeder in feeders:
        unread = row & feeder.cells & ~read
        if unread:
            for fate, cells in shown:
                mine = unread & (cells | feeder.of_readers(cells) & ~painted)
                if mine:
                    fate.unread[step] = fate.unread.get(step, 0) | mine


class _Linter:
    """Words the findings."""

    def __init__(self, program: tree.Program) -> None:
        self.found: list[Diagnostic] = []
        self._program = program
        self._rules = program.rules
        self._lets = [statement for statement in program.statements if isinstance(statement, tree.Let)]

    def _warn(
        self, code: str, message: str, span: Span | None, label: str | None, help_: str, *, fix: Fix | None = None
    ) -> None:
        self.found.append(Diagnostic(code, Severity.WARNING, message, span, label, help_, self._program.source, fix))

    def report_unused_lets(self) -> None:
        used = {name for rule in self._program.rules for name in names_in(rule.components, rule.blocks, rule.steps)}
        referred = {name for let in self._lets for name in names_in(let.value)}
        # A binding stands above its use: upwards, every use of a name is met before its binding.
        for let in reversed(self._lets):
            if let.name in used:
                used.update(names_in(let.value))
            else:
                span = let.name_span or let.span
                # Names without use that refer to this one go first.
                fix = removal(self._program.source, let.span) if let.name not in referred else None
                self._warn("W308", f"no rule uses `{let.name}`", span, None, "leave the line out", fix=fix)

    def report_step_0(self, rules: Iterable[tree.Rule]) -> None:
        meanings: dict[str, object] = {}
        for let in self._lets:
            value = let.value
            meanings[let.name] = meanings.get(value.name) if isinstance(value, tree.Name) else value
        for rule in rules:
            # A rule that selects step 0 counts from there.
            due = rule.every is None or rule.every.offset == 0
            reuses = due if rule.action is tree.Action.REUSE else not due and rule.action is tree.Action.CACHE
            place = _place_of_0(rule.steps)
            if isinstance(rule.steps, tree.Name) and _place_of_0(meanings.get(rule.steps.name)):
                place = rule.steps
            if not reuses or place is None:
                continue
            help_ = "leave step 0 out"
            if rule.every is not None:
                help_ += "; mind that `every` counts from the first step selected"
            message = "reuse is written for step 0, which is always recomputed"
            self._warn("W307", message, place.span, "nothing is kept yet", help_, fix=self._without_0(rule))

    def _without_0(self, rule: tree.Rule) -> Fix | None:
        """The edit that leaves step 0 out of a rule, if all other steps at which it is due stay so."""
        source, selector = self._program.source, rule.steps
        if source is None or selector is None or selector.span is None or rule.action is not tree.Action.REUSE:
            return None
        # `every` counts from the first step selected, which has to be one that was due.
        period = rule.every.period if rule.every is not None else 1
        part: tree.StepSelector | None = None
        match selector:
            case tree.FirstSteps(count=count) if period < count:
                part = tree.StepRange((tree.Range(period, count - 1),))
            case tree.FromTo(start=0, stop=None) if period < (self._program.steps or 0):
                part = tree.FromTo(period)
            case tree.FromTo(stop=int(stop)) if period <= stop:
                part = tree.FromTo(period, stop)
            case tree.StepRange(items=items) if rule.every is None or len(items) == 1:
                part = _without_item_0(items, period)
        if part is None or "\n" in source.text[slice(*selector.span)]:
            return None
        return Fix(selector.span, format_part(part))

    def report_idle(self, idle: Sequence[_Fate]) -> None:
        help_ = "leave it out"
        if len(idle) > 1:
            # Of two rules that say the same, each changes nothing while the other is there.
            help_ += ", and check again before you leave out another"
        # Those that never show may go together. On another model or number of steps they may do something.
        sure = {fate.number for fate in idle if not fate.shows} or {fate.number for fate in idle[:1]}
        if self._program.model is None or self._program.steps is None:
            sure = set()
        for fate in idle:
            fix = removal(self._program.source, fate.rule.span) if fate.number in sure else None
            if fate.paints and not fate.shows:
                message = f"the rule is wholly overwritten by {self._places(fate.overwritten_by)}"
                self._warn("W306", message, fate.rule.span, None, help_, fix=fix)
            else:
                self._warn("W305", "the rule changes nothing", fate.rule.span, self._why_idle(fate), help_, fix=fix)

    def _why_idle(self, fate: _Fate) -> str:
        if fate.never_due:
            return "its period comes round at none of its steps"
        if not fate.paints:
            return "step 0 is always recomputed, and no other step is touched"
        if fate.overwritten_by:
            return f"its cells are so already, or overwritten by {self._places(fate.overwritten_by)}"
        return "its cells are so already"

    def _places(self, numbers: Iterable[int]) -> str:
        """These rules by their lines; by their numbers, counted from 1, where there is no text."""
        ordered = sorted(numbers)
        source, chosen = self._program.source, ordered[:_MOST_NAMED]
        noun, names = "rule", [str(number + 1) for number in chosen]
        spans = [span for number in chosen if (span := self._rules[number].span) is not None]
        if source is not None and len(spans) == len(chosen):
            noun, names = "line", [str(source.position(span.start).line) for span in spans]
        if len(ordered) > _MOST_NAMED:
            names.append("others")
        return f"{noun}{'s' * (len(names) > 1)} {listed(names)}"

    def report_unread(self, fates: Iterable[_Fate], feeders: Sequence[_Feeder]) -> None:
        for fate in fates:
            count = sum(cells.bit_count() for cells in fate.unread.values())
            if not count:
                continue
            step = min(fate.unread)
            concerned = [f for f in feeders if any(cells & f.cells for cells in fate.unread.values())]
            feeding = list(dict.fromkeys(f"`{f.name}`" for f in concerned))
            names = f"{listed(feeding)} only feed{'s' * (len(feeding) == 1)}"
            readers = listed([f"`{name}`" for name in dict.fromkeys(f.reader for f in concerned)])
            plural = "s are" if count > 1 else " is"
            message = f"{count:,} recompute{plural} never read: {names} {readers}, which is reused there"
            example = _example(fate.unread[step], feeders)
            span = fate.rule.components.span or fate.rule.span
            self._warn("W309", message, span, f"such as {example} at step {step}", "reuse them there: nothing is lost")


def _example(cells: int, feeders: Iterable[_Feeder]) -> str:
    """The first of these cells, in words."""
    lowest = cells & -cells
    feeder = next(feeder for feeder in feeders if feeder.cells & lowest)
    block = (feeder.cells & lowest - 1).bit_count()
    return f"`{feeder.name}` of {feeder.stack} block {block}"


def _place_of_0(selector: object) -> tree.Node | None:
    """Where a selector selects step 0 by a number; a word such as `even` or a percentage only happens to select it."""
    match selector:
        case tree.StepRange():
            return next((item for item in selector.items if item.first == 0), None)
        case tree.FirstSteps() | tree.FromTo(start=0) | tree.FromTo(start=None, stop=int()):
            return selector
        case _:
            return None


def _without_item_0(items: Sequence[tree.Range], period: int) -> tree.StepRange | None:
    kept = []
    for item in items:
        if item.first == 0 and isinstance(item.last, int):
            first = lcm(item.by, period)
            if first <= item.last:
                kept.append(tree.Range(first, item.last, 1 if first == item.last else item.by))
        else:
            kept.append(item)
    return tree.StepRange(tuple(kept)) if kept else None
