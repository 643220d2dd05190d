"""Crossovers: two rule lists into one. Each is a dataclass with one method, as in :mod:`.mutation`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ecad_dsl.evolution.genome import Space
from ecad_dsl.evolution.mutation import Random, Rules
from ecad_dsl.language.tree import Action, BlockRange, BlockTerm, Components, Program, Range, Rule
from ecad_dsl.schedule.resolve import Resolver


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
            named = _component_names(rule.components, space)
            inside = tuple(name for name in named if name in chosen)
            if inside:
                # A rule that loses nothing keeps its wording ("all" rather than a list).
                kept.append(rule if inside == named else replace(rule, components=Components(inside)))
        return tuple(kept)


@dataclass(frozen=True)
class ExchangeBlocks:
    """One outside a window of blocks, the other inside it."""

    def __call__(self, one: Rules, other: Rules, space: Space, random: Random) -> Rules:
        first, last = sorted(int(i) for i in random.integers(space.spec.blocks, size=2))
        window = (BlockRange((Range(first, last),)),)
        inside = [
            replace(rule, blocks=(BlockRange(_ranges(blocks)),))
            for rule in other
            if (blocks := [block for block in _selected(rule.blocks, space) if first <= block <= last])
        ]
        clear = Rule(Action.RECOMPUTE, Components(("all",)), blocks=window)
        return (*one, clear, *inside)


CROSSOVERS: tuple[Crossover, ...] = (Splice(), ExchangeComponents(), ExchangeBlocks())


def _component_names(components: Components, space: Space) -> tuple[str, ...]:
    def named(names: tuple[str, ...]) -> set[str]:
        found = set()
        for name in names:
            for stack, indices in (space.spec.select(name) or {}).items():
                members = next(s for s in space.spec.stacks if s.name == stack).components
                found |= {members[index].name for index in indices}
        return found

    chosen = named(components.names) - named(components.excluded)
    return tuple(name for name in space.spec.component_names if name in chosen)


def _selected(terms: tuple[BlockTerm, ...] | None, space: Space) -> list[int]:
    """Indices of the selected blocks over all stacks."""
    every = range(space.spec.blocks)
    if terms is None:
        return list(every)
    cells = Resolver(Program(), space.spec, space.steps).blocks(terms)
    return [block for block in every if cells & space.spec.block_bits(range(block, block + 1))]


def _ranges(indices: list[int]) -> tuple[Range, ...]:
    """Ascending indices as as few ranges as possible."""
    ranges: list[Range] = []
    for index in indices:
        if ranges and ranges[-1].last == index - 1:
            ranges[-1] = replace(ranges[-1], last=index)
        else:
            ranges.append(Range.single(index))
    return tuple(ranges)
