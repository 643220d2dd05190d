"""The genome: a program that compiles, with the schedule that it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from ecad_dsl.language.tree import Program, Rule, Steps
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule import CompileError, Schedule, cost
from ecad_dsl.schedule.compile import Stroke, paint, strokes
from ecad_dsl.schedule.resolve import Resolver
from ecad_dsl.schedule.target import Target

Rules = tuple[Rule, ...]


def _macs(schedule: Schedule) -> int:
    return cost(schedule).macs


@dataclass(frozen=True)
class Space:
    """What programs are searched: those of one model and step count, with a bounded number of rules."""

    spec: ModelSpec
    steps: int
    max_rules: int = 24
    min_macs: float = 0.0
    max_macs: float = 1.0
    """Least and most MACs that are of interest, as shares of recomputing everything at every step."""
    fewest_steps: int | None = None
    """Where programs may run with fewer steps than ``steps``: down to so many."""
    macs: Callable[[Schedule], int] = field(default=_macs, compare=False)
    """Of one picture; what shares are of."""

    @property
    def step_counts(self) -> range:
        return range(self.fewest_steps or self.steps, self.steps + 1)

    def at(self, steps: int) -> Space:
        """The same, as seen by a program of so many steps."""
        return self if steps == self.steps else replace(self, steps=steps)

    @cached_property
    def all_macs(self) -> int:
        """Those of recomputing everything at every step."""
        full = (1 << self.spec.cells) - 1
        return self.macs(Schedule(self.spec, (full,) * self.steps))

    def share(self, schedule: Schedule) -> float:
        """The schedule's MACs as a share of recomputing everything at every step."""
        return self.macs(schedule) / self.all_macs

    def holds(self, schedule: Schedule) -> bool:
        """Whether a schedule costs as much as is of interest."""
        return self.min_macs <= self.share(schedule) <= self.max_macs

    def paints(self, rule: Rule) -> Stroke | None:
        """What a rule paints; None where it does not compile."""
        return _stroke(rule, self.spec, self.steps)

    def compiled(self, rules: Sequence[Rule]) -> Schedule | None:
        """The schedule that the rules mean, None where they do not compile."""
        painted = [self.paints(rule) for rule in rules]
        rows = None if None in painted else self.rows(painted)  # type: ignore[arg-type]
        return None if rows is None else Schedule(self.spec, tuple(rows))

    def rows(self, painted: Sequence[Stroke]) -> list[int]:
        """The rows of a schedule that strokes leave, painted in this order."""
        full = (1 << self.spec.cells) - 1
        rows = [full] * self.steps
        for stroke in painted:
            paint(rows, stroke)
        rows[0] = full
        return rows


@lru_cache(maxsize=100_000)
def _stroke(rule: Rule, spec: ModelSpec, steps: int) -> Stroke | None:
    program = Program((rule,))
    resolver = Resolver(program, spec, steps)
    try:
        (stroke,) = strokes(program, Target(spec, steps), resolver)
    except CompileError:
        return None
    return None if any(found.is_error for found in resolver.found) or not stroke.cells else stroke


@dataclass(frozen=True)
class Origin:
    """How a genome came about: the edit, and the keys of the parents' schedules."""

    edit: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Genome:
    """Rules and what they mean. Two genomes with equal schedules are the same candidate."""

    rules: Rules
    schedule: Schedule = field(compare=False)
    origin: Origin = field(compare=False)
    states_steps: bool = field(default=False, compare=False)
    """Whether its text says its number of steps: where that is for the search to choose."""

    @cached_property
    def key(self) -> str:
        return self.schedule.key

    @property
    def steps(self) -> int:
        return self.schedule.steps

    @property
    def program(self) -> Program:
        return Program((*((Steps(self.steps),) if self.states_steps else ()), *self.rules))


def grow(rules: Rules, space: Space, origin: Origin) -> Genome | None:
    """A genome of these rules less those without effect; None if they do not compile or are too many."""
    painted = [space.paints(rule) for rule in rules]
    if None in painted:
        return None
    kept, rows = _without_idle(rules, painted, space)  # type: ignore[arg-type]
    if len(kept) > space.max_rules:
        return None
    return Genome(kept, Schedule(space.spec, tuple(rows)), origin, space.fewest_steps is not None)


def resized(rules: Rules, steps: int, space: Space) -> Rules:
    """Rules for so many steps as rules for the steps of the space: what they select keeps its place."""
    if steps == space.steps:
        return rules
    from ecad_dsl.schedule.retarget import retarget

    program, _ = retarget(Program(rules), space.spec, space.spec, steps, space.steps)
    return program.rules


def _without_idle(rules: Rules, painted: list[Stroke], space: Space) -> tuple[Rules, list[int]]:
    """Rules without those that change no cell: what evolution leaves behind should be worth reading."""
    rows = space.rows(painted)
    kept, index = list(rules), 0
    while index < len(kept):
        fewer = painted[:index] + painted[index + 1 :]
        if space.rows(fewer) == rows:
            painted = fewer
            del kept[index]
        else:
            index += 1
    return tuple(kept), rows
