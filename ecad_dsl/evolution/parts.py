"""Parts of rules: what a selection stands for, and parts drawn at random that a model has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ecad_dsl.evolution.genome import Space
from ecad_dsl.language.tree import (
    Action,
    BlockRange,
    BlockTerm,
    Components,
    Every,
    FromTo,
    LastSteps,
    Program,
    Range,
    Rule,
    StepSelector,
)
from ecad_dsl.schedule.resolve import Resolver

Random = np.random.Generator


def component_names(components: Components, space: Space) -> tuple[str, ...]:
    """Official names of what a selection of components stands for."""

    def named(names: tuple[str, ...]) -> set[str]:
        found = set()
        for name in names:
            for stack, indices in (space.spec.select(name) or {}).items():
                members = next(s for s in space.spec.stacks if s.name == stack).components
                found |= {members[index].name for index in indices}
        return found

    chosen = named(components.names) - named(components.excluded)
    return tuple(name for name in space.spec.component_names if name in chosen)


def selected(terms: tuple[BlockTerm, ...] | None, space: Space) -> Sequence[int]:
    """Indices of the selected blocks over all stacks."""
    every = range(space.spec.blocks)
    if terms is None:
        return every
    cells = Resolver(Program(), space.spec, space.steps).blocks(terms)
    return [block for block in every if cells & space.spec.block_bits(range(block, block + 1))]


def ranges(indices: Iterable[int]) -> tuple[Range, ...]:
    """Ascending indices as as few ranges as possible."""
    found: list[Range] = []
    for index in indices:
        if found and found[-1].last == index - 1:
            found[-1] = replace(found[-1], last=index)
        else:
            found.append(Range.single(index))
    return tuple(found)


def random_rule(space: Space, random: Random) -> Rule:
    """A rule over a random part of the space."""
    action = (Action.CACHE, Action.CACHE, Action.REUSE, Action.RECOMPUTE)[int(random.integers(4))]
    recurs = action is Action.CACHE or random.random() < 0.3
    rule = Rule(
        action,
        random_components(space, random),
        blocks=random_blocks(space, random) if random.random() < 0.6 else None,
        every=random_every(space, random) if recurs else None,
        steps=random_steps(space, random) if random.random() < 0.5 or not recurs else None,
    )
    return fitted(rule, space)


def fitted(rule: Rule, space: Space) -> Rule:
    """The rule, over all blocks if those that it names have none of its components (as happens with several stacks)."""
    return rule if space.paints(rule) is not None else replace(rule, blocks=None)


def random_components(space: Space, random: Random) -> Components:
    """A random non-empty set of components, ``all`` among them."""
    names = space.spec.component_names
    if random.random() < 0.25:
        return Components(("all",))
    chosen = random.random(len(names)) < 0.4
    chosen[int(random.integers(len(names)))] = True
    kept = tuple(name for name, keep in zip(names, chosen, strict=True) if keep)
    return Components(kept) if len(kept) < len(names) else Components(("all",))


def random_blocks(space: Space, random: Random) -> tuple[BlockTerm, ...]:
    """A random range of blocks, counted over all stacks."""
    first, last = sorted(int(i) for i in random.integers(space.spec.blocks, size=2))
    return (BlockRange((Range(first, last),)),)


def random_steps(space: Space, random: Random) -> StepSelector:
    """A random window of steps, open at one end or closed."""
    first, last = sorted(int(i) for i in random.integers(space.steps, size=2))
    kind = int(random.integers(4))
    if kind == 0:
        return FromTo(min(max(1, first), space.steps - 1))
    if kind == 1:
        return FromTo(None, last)
    if kind == 2:
        return LastSteps(int(random.integers(1, max(2, space.steps // 3))))
    return FromTo(first, last)


def random_every(space: Space, random: Random) -> Every:
    """A period from 2 to 8, or as far as the steps go."""
    return Every(int(random.integers(2, max(3, min(9, space.steps)))))
