"""Crossovers: two rule lists into one. Each is a dataclass with one method, as in :mod:`.mutation`.

But for the splice, a child's cells are those of one parent in one part of the schedule, and those of the other in the
rest: in a window of steps, in a window of blocks, or for some of the components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from ecad_dsl.evolution.genome import Rules, Space
from ecad_dsl.evolution.parts import Random, component_names, ranges, selected
from ecad_dsl.language.tree import Action, BlockRange, Components, Every, FromTo, Range, Rule, StepRange


class Crossover(Protocol):
    def __call__(self, one: Rules, other: Rules, space: Space, random: Random) -> Rules: ...


@dataclass(frozen=True)
class Splice:
    """The first rules of one, then the last rules of the other."""

    def __call__(self, one: Rules, other: Rules, space: Space, random: Random) -> Rules:  # noqa: ARG002
        return one[: int(random.integers(len(one) + 1))] + other[int(random.integers(len(other) + 1)) :]


@dataclass(frozen=True)
class ExchangeComponents:
    """What one does to some components, and what the other does to the rest."""

    def __call__(self, one: Rules, other: Rules, space: Space, random: Random) -> Rules:
        names = space.spec.component_names
        chosen = {name for name in names if random.random() < 0.5}
        return self._only(one, chosen, space) + self._only(other, set(names) - chosen, space)

    def _only(self, rules: Rules, chosen: set[str], space: Space) -> Rules:
        kept = []
        for rule in rules:
            named = component_names(rule.components, space)
            inside = tuple(name for name in named if name in chosen)
            # A rule that loses nothing keeps its wording ("all" rather than a list).
            fewer = rule if inside == named else replace(rule, components=Components(inside)) if inside else None
            if fewer is not None and space.paints(fewer) is not None:
                kept.append(fewer)
        return tuple(kept)


@dataclass(frozen=True)
class ExchangeBlocks:
    """One outside a window of blocks, the other inside it."""

    def __call__(self, one: Rules, other: Rules, space: Space, random: Random) -> Rules:
        first, last = sorted(int(i) for i in random.integers(space.spec.blocks, size=2))
        window = (BlockRange((Range(first, last),)),)
        inside = [
            fewer
            for rule in other
            if (blocks := [block for block in selected(rule.blocks, space) if first <= block <= last])
            if space.paints(fewer := replace(rule, blocks=(BlockRange(ranges(blocks)),))) is not None
        ]
        return (*one, Rule(Action.RECOMPUTE, Components(("all",)), blocks=window), *inside)


@dataclass(frozen=True)
class ExchangeSteps:
    """One outside a window of steps, the other inside it."""

    def __call__(self, one: Rules, other: Rules, space: Space, random: Random) -> Rules:
        first, last = sorted(int(i) for i in random.integers(space.steps, size=2))
        window = StepRange((Range(first, last),))
        clear = Rule(Action.RECOMPUTE, Components(("all",)), steps=window)
        return (*one, clear, *(part for rule in other for part in during(rule, first, last, space)))


CROSSOVERS: tuple[Crossover, ...] = (Splice(), ExchangeComponents(), ExchangeBlocks(), ExchangeSteps())


def during(rule: Rule, first: int, last: int, space: Space) -> Iterator[Rule]:
    """A rule as it is in a window of steps: one rule that recurs at the same steps, or the steps listed."""
    stroke = space.paints(rule)
    if stroke is None:
        return
    reused, recomputed = (
        [step for step in steps if first <= step <= last] for steps in (stroke.reused, stroke.recomputed)
    )
    touched = stroke.reused
    if rule.every is not None and recomputed and touched and touched == range(touched[0], touched[-1] + 1):
        start, stop = max(first, touched[0]), min(last, touched[-1])
        offset = (recomputed[0] - start) % rule.every.period
        yield replace(rule, every=Every(rule.every.period, offset), steps=FromTo(start, stop))
        return
    listed = set(recomputed)
    for action, steps in ((Action.REUSE, [s for s in reused if s not in listed]), (Action.RECOMPUTE, recomputed)):
        if steps:
            yield replace(rule, action=action, every=None, steps=StepRange(ranges(steps)))
