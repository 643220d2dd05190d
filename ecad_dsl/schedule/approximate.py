"""A shorter program that means almost the same, as long as a measure says that little is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf, isnan

from ecad_dsl.errors import EcadError
from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.compile import compile
from ecad_dsl.schedule.cost import CostTable, cost_table
from ecad_dsl.schedule.recompile import Recompiler
from ecad_dsl.schedule.rewrites import JUDGED, PORTABLE
from ecad_dsl.schedule.schedule import Schedule
from ecad_dsl.schedule.simplify import proposals, rewrite

MOST_TRIED = 12
"""Measuring takes seconds, so in each round only so many proposals are measured: those that change the fewest cells."""

Measure = Callable[[Schedule], float]


@dataclass(frozen=True)
class Removal:
    """Something that was left out, and what it was worth."""

    program: tree.Program
    """What remains."""
    schedule: Schedule
    removed: tuple[tree.Rule, ...]
    added: tuple[tree.Rule, ...]
    """What stands in the place of the removed rules: a shorter rule, or none."""
    cells: int
    """How many cells it changed."""
    quality: float
    """What the measure says of the schedule that remains."""
    worth: float
    """How much lower that is than before: what the removed was worth. Negative where it did harm."""
    macs: float
    """Of the schedule that remains, as a share of recomputing everything."""
    more_macs: float
    """By how much this share is higher than before; negative where the removed cost some."""


def approximate(
    program: tree.Program,
    measure: Measure,
    tolerance: float,
    model: str | ModelSpec | None = None,
    steps: int | None = None,
    *,
    macs_tolerance: float = 0.01,
) -> Iterator[Removal]:
    """Leave out rules, then parts of rules, in the order of least harm; yield each as it goes.

    Nothing is left out that would take the measure more than ``tolerance`` below where it started, or the MACs more
    than ``macs_tolerance`` above. Harm is the larger share of the two tolerances that is used up. Noise cells go with
    the rules or items that stand for them. Run it on a simplified program, and simplify what remains.

    Args:
        program: what to shorten.
        measure: the quality of a schedule, higher is better. Asked once for each schedule.
        tolerance: how much lower than at the start the quality may end, in the unit of the measure.
        model: as for :func:`compile`.
        steps: as for :func:`compile`.
        macs_tolerance: how much more MACs the result may take, as a share of recomputing everything.

    Raises:
        CompileError: the program has mistakes, or nobody says for which model or how many steps it is.
        EcadError: a tolerance is negative or not finite, the model's spec does not say what it is fed, or the measure
            knows no number for the program itself.
    """
    for number in (tolerance, macs_tolerance):
        if not 0 <= number < inf:
            raise EcadError(f"a tolerance must be a number from 0 up, not {number}")
    schedule = compile(program, model, steps)
    judge = _Judge(measure, tolerance, macs_tolerance, cost_table(schedule.spec), schedule)
    return _remove(program, schedule, judge)


def _remove(program: tree.Program, schedule: Schedule, judge: _Judge) -> Iterator[Removal]:
    for whole_rules in (True, False):
        while found := _least_harm(program, schedule, judge, whole_rules):
            shorter, changed = found
            yield Removal(
                shorter,
                changed,
                tuple(rule for rule in program.rules if rule not in shorter.rules),
                tuple(rule for rule in shorter.rules if rule not in program.rules),
                _distance(changed, schedule),
                judge.quality(changed),
                judge.quality(schedule) - judge.quality(changed),
                judge.macs(changed),
                judge.macs(changed) - judge.macs(schedule),
            )
            program, schedule = found


def _least_harm(
    program: tree.Program, schedule: Schedule, judge: _Judge, whole_rules: bool
) -> tuple[tree.Program, Schedule] | None:
    """The shorter program that does least harm, with fewer rules or with as many; None if none is within tolerance."""
    found: dict[str, tuple[tree.Program, Schedule]] = {}
    recompile = Recompiler(schedule.spec, schedule.steps)
    for index in range(len(program.statements)):
        for shorter in proposals(program, index, JUDGED, schedule):
            fewer_rules = shorter.length[0] < program.length[0]
            if shorter.length >= program.length or fewer_rules is not whole_rules:
                continue
            changed = recompile(shorter)
            if changed is None or not judge.affords(changed):
                continue
            if changed.key not in found or shorter.length < found[changed.key][0].length:
                found[changed.key] = shorter, changed
    nearest = sorted(found.values(), key=lambda choice: _distance(choice[1], schedule))[:MOST_TRIED]
    best = min(nearest, key=lambda choice: judge.harm(choice[1]), default=None)
    if best is None or judge.harm(best[1])[0] > 1:
        return None
    return rewrite(best[0], PORTABLE + JUDGED, best[1]), best[1]


@dataclass
class _Judge:
    """Remembers what was measured, and compares it with the start."""

    measure: Measure
    tolerance: float
    macs_tolerance: float
    table: CostTable
    start: Schedule
    _qualities: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isnan(self.quality(self.start)):
            raise EcadError("the measure gives no number for the program as it is, so nothing can be compared with it")

    def quality(self, schedule: Schedule) -> float:
        key = schedule.key
        if key not in self._qualities:
            self._qualities[key] = self.measure(schedule)
        return self._qualities[key]

    def macs(self, schedule: Schedule) -> float:
        """As a share of recomputing everything."""
        everything = self.table.layers.total([self.start.rows[0]] * self.start.steps)
        return self.table.layers.total(schedule.rows) / everything

    def affords(self, schedule: Schedule) -> bool:
        return self._macs_used(schedule) <= 1

    def harm(self, schedule: Schedule) -> tuple[float, float]:
        """The larger share of the two tolerances that is used up, none being 0; then, between equals, lower quality."""
        quality = self.quality(schedule)
        if isnan(quality):
            return inf, 0
        lost = _share(self.quality(self.start) - quality, self.tolerance)
        return max(lost, self._macs_used(schedule)), -quality

    def _macs_used(self, schedule: Schedule) -> float:
        return _share(self.macs(schedule) - self.macs(self.start), self.macs_tolerance)


def _share(used: float, allowed: float) -> float:
    if used <= 0:
        return 0
    return used / allowed if allowed else inf


def _distance(one: Schedule, other: Schedule) -> int:
    """In how many cells two schedules differ."""
    return sum((mine ^ theirs).bit_count() for mine, theirs in zip(one.rows, other.rows, strict=True))
