"""The genome: a program that compiles, with the schedule that it means."""

from __future__ import annotations

from dataclasses import dataclass, field

from ecad_dsl.language.tree import Program, Rule
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule import CompileError, Schedule, compile, cost


@dataclass(frozen=True)
class Space:
    """What programs are searched: those of one model and step count, with a bounded number of rules."""

    spec: ModelSpec
    steps: int
    max_rules: int = 24
    min_macs: float = 0.0
    max_macs: float = 1.0
    """Least and most MACs that are of interest, as shares of recomputing everything."""

    def holds(self, schedule: Schedule) -> bool:
        """Whether a schedule costs as much as is of interest."""
        return self.min_macs <= 1 - cost(schedule).saved <= self.max_macs

    def compiled(self, rules: tuple[Rule, ...]) -> Schedule | None:
        """The schedule that the rules mean, None where they do not compile."""
        try:
            return compile(Program(rules), self.spec, self.steps)
        except CompileError:
            return None


@dataclass(frozen=True)
class Origin:
    """How a genome came about: the edit, and the keys of the parents' schedules."""

    edit: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Genome:
    """Rules and what they mean. Two genomes with equal schedules are the same candidate."""

    rules: tuple[Rule, ...]
    schedule: Schedule = field(compare=False)
    origin: Origin = field(compare=False)

    @property
    def key(self) -> str:
        return self.schedule.key


def grow(rules: tuple[Rule, ...], space: Space, origin: Origin) -> Genome | None:
    """A genome of these rules less those without effect; None if they do not compile or are too many."""
    schedule = space.compiled(rules)
    if schedule is None:
        return None
    kept = _without_idle(rules, schedule, space)
    return Genome(kept, schedule, origin) if len(kept) <= space.max_rules else None


def _without_idle(rules: tuple[Rule, ...], schedule: Schedule, space: Space) -> tuple[Rule, ...]:
    """Rules without those that change no cell: what evolution leaves behind should be worth reading."""
    index = 0
    while index < len(rules):
        fewer = rules[:index] + rules[index + 1 :]
        shorter = space.compiled(fewer)
        if shorter is not None and shorter.rows == schedule.rows:
            rules = fewer
        else:
            index += 1
    return rules
