"""Mutations: edits of a rule list that a person could have made. Each is a dataclass with one method.

A mutation returns new rules, or None where it finds nothing to edit. Whether the result compiles is checked by
:func:`ecad_dsl.evolution.genome.grow`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ecad_dsl.evolution.genome import Space
from ecad_dsl.language.tree import (
    Action,
    BlockRange,
    BlockTerm,
    Components,
    Every,
    FirstBlocks,
    FirstSteps,
    FromTo,
    LastBlocks,
    LastSteps,
    Range,
    Rule,
    StepRange,
    StepSelector,
)

Rules = tuple[Rule, ...]
Random = np.random.Generator


class Mutation(Protocol):
    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None: ...


@dataclass(frozen=True)
class Nudge:
    """Move one end of a rule's blocks or steps."""

    reach: int = 3

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random, lambda rule: _bounded(rule.blocks) or _bounded(rule.steps))
        if index is None:
            return None
        rule = rules[index]
        move = int(random.integers(1, self.reach + 1)) * (1 if random.random() < 0.5 else -1)
        if _bounded(rule.blocks) and (not _bounded(rule.steps) or random.random() < 0.5):
            assert rule.blocks is not None
            which = int(random.integers(len(rule.blocks)))
            terms = list(rule.blocks)
            terms[which] = _nudged_blocks(terms[which], move, space.spec.blocks - 1, random)
            rule = replace(rule, blocks=tuple(terms))
        else:
            rule = replace(rule, steps=_nudged_steps(rule.steps, move, space.steps - 1, random))
        return _with(rules, index, rule)


@dataclass(frozen=True)
class Rescope:
    """Give a rule other blocks or other steps, or lift the limit."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random)
        if index is None:
            return None
        rule = rules[index]
        lift = random.random() < 0.3
        if random.random() < 0.5:
            return _with(rules, index, replace(rule, blocks=None if lift else random_blocks(space, random)))
        return _with(rules, index, replace(rule, steps=None if lift else random_steps(space, random)))


@dataclass(frozen=True)
class Repeat:
    """Change how often a rule recurs: its period, its offset, or whether it recurs at all."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random)
        if index is None:
            return None
        rule = rules[index]
        if rule.every is None:
            every: Every | None = random_every(space, random)
        elif random.random() < 0.1 and rule.action is not Action.CACHE:
            every = None
        elif random.random() < 0.6:
            period = max(2, rule.every.period + (1 if random.random() < 0.5 else -1))
            every = Every(period, min(rule.every.offset, period - 1))
        else:
            every = Every(rule.every.period, int(random.integers(max(1, rule.every.period))))
        return _with(rules, index, replace(rule, every=every))


@dataclass(frozen=True)
class Shift:
    """Move the steps at which a recurring rule recomputes: by its first step, by its offset, or by both."""

    latest: int = 5

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random, lambda rule: rule.every is not None)
        if index is None:
            return None
        rule = rules[index]
        assert rule.every is not None
        if random.random() < 0.6:
            # The first steps draw the outline: where caching begins among them is worth most tries.
            first = int(random.integers(0, min(self.latest, space.steps - 1) + 1))
            stop = rule.steps.stop if isinstance(rule.steps, FromTo) and isinstance(rule.steps.stop, int) else None
            if stop is not None:
                first = min(first, stop)
            rule = replace(rule, steps=FromTo(first, stop) if first or stop is not None else None)
        if random.random() < 0.6:
            period = rule.every.period if rule.every else 1
            rule = replace(rule, every=Every(period, int(random.integers(max(1, period)))))
        return _with(rules, index, rule)


@dataclass(frozen=True)
class Retarget:
    """Widen, narrow or exchange the components of a rule."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random)
        if index is None:
            return None
        return _with(rules, index, replace(rules[index], components=random_components(space, random)))


@dataclass(frozen=True)
class SwitchAction:
    """Let a rule cache, reuse or recompute instead."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:  # noqa: ARG002
        index = _pick(rules, random)
        if index is None:
            return None
        others = [action for action in Action if action is not rules[index].action]
        return _with(rules, index, replace(rules[index], action=others[int(random.integers(len(others)))]))


@dataclass(frozen=True)
class Insert:
    """A new random rule at a random place."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        place = int(random.integers(len(rules) + 1))
        return (*rules[:place], random_rule(space, random), *rules[place:])


@dataclass(frozen=True)
class Drop:
    """One rule less."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:  # noqa: ARG002
        index = _pick(rules, random)
        return None if index is None else rules[:index] + rules[index + 1 :]


@dataclass(frozen=True)
class Split:
    """Cut a rule's blocks in two, so that the halves can go separate ways; the second recurs at another pace."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random, lambda rule: _span(rule, space) is not None)
        if index is None:
            return None
        rule = rules[index]
        span = _span(rule, space)
        assert span is not None
        first, last = span
        cut = int(random.integers(first, last))
        lower = replace(rule, blocks=(_blocks(first, cut),))
        upper = replace(rule, blocks=(_blocks(cut + 1, last),), every=random_every(space, random))
        return (*rules[:index], lower, upper, *rules[index + 1 :])


@dataclass(frozen=True)
class Merge:
    """Let one rule cover the blocks of another that does the same to the same components."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        pairs = [
            (i, j)
            for i, one in enumerate(rules)
            for j in range(i + 1, len(rules))
            if one.action is rules[j].action and one.components == rules[j].components
            if _span(one, space) and _span(rules[j], space)
        ]
        if not pairs:
            return None
        i, j = pairs[int(random.integers(len(pairs)))]
        ends = [end for rule in (rules[i], rules[j]) for end in _span(rule, space) or ()]
        merged = replace(rules[i], blocks=(_blocks(min(ends), max(ends)),))
        return _with(rules[:j] + rules[j + 1 :], i, merged)


@dataclass(frozen=True)
class Swap:
    """Exchange two neighbouring rules: the later one wins where they touch the same cells."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:  # noqa: ARG002
        if len(rules) < 2:
            return None
        i = int(random.integers(len(rules) - 1))
        return (*rules[:i], rules[i + 1], rules[i], *rules[i + 2 :])


@dataclass(frozen=True)
class Patch:
    """Recompute or reuse a few neighbouring cells at one step."""

    width: int = 4

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        step = int(random.integers(1, max(2, space.steps)))
        first = int(random.integers(space.spec.blocks))
        last = min(space.spec.blocks - 1, first + int(random.integers(self.width)))
        patch = Rule(
            Action.RECOMPUTE if random.random() < 0.6 else Action.REUSE,
            random_components(space, random),
            blocks=None if random.random() < 0.4 else (_blocks(first, last),),
            steps=StepRange((Range.single(step),)),
        )
        return (*rules, patch)


MUTATIONS: tuple[tuple[Mutation, float], ...] = (
    (Nudge(), 3.0),
    (Rescope(), 1.5),
    (Repeat(), 2.0),
    (Shift(), 4.0),
    (Retarget(), 1.5),
    (SwitchAction(), 0.5),
    (Insert(), 1.5),
    (Drop(), 1.5),
    (Split(), 1.0),
    (Merge(), 0.5),
    (Swap(), 0.5),
    (Patch(), 2.5),
)
"""Every mutation with its relative rate."""


# ------------------------------------------------------------------------------------- random parts of rules


def random_rule(space: Space, random: Random) -> Rule:
    """A rule over a random part of the space."""
    action = (Action.CACHE, Action.CACHE, Action.REUSE, Action.RECOMPUTE)[int(random.integers(4))]
    recurs = action is Action.CACHE or random.random() < 0.3
    return Rule(
        action,
        random_components(space, random),
        blocks=random_blocks(space, random) if random.random() < 0.6 else None,
        every=random_every(space, random) if recurs else None,
        steps=random_steps(space, random) if random.random() < 0.5 or not recurs else None,
    )


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
    return (_blocks(first, last),)


def random_steps(space: Space, random: Random) -> StepSelector:
    """A random window of steps, open at one end or closed."""
    first, last = sorted(int(i) for i in random.integers(space.steps, size=2))
    kind = int(random.integers(4))
    if kind == 0:
        return FromTo(max(1, first))
    if kind == 1:
        return FromTo(None, last)
    if kind == 2:
        return LastSteps(int(random.integers(1, max(2, space.steps // 3))))
    return FromTo(first, last)


def random_every(space: Space, random: Random) -> Every:
    """A period from 2 to 8, or as far as the steps go."""
    return Every(int(random.integers(2, max(3, min(9, space.steps)))))


# ----------------------------------------------------------------------------------------------- small tools


def _pick(rules: Rules, random: Random, fits: Callable[[Rule], bool] = lambda _: True) -> int | None:
    indices = [i for i, rule in enumerate(rules) if fits(rule)]
    return indices[int(random.integers(len(indices)))] if indices else None


def _with(rules: Rules, index: int, rule: Rule) -> Rules:
    return (*rules[:index], rule, *rules[index + 1 :])


def _blocks(first: int, last: int) -> BlockRange:
    return BlockRange((Range(first, last),))


def _bounded(part: object) -> bool:
    """Whether a clause has an end that can be moved."""
    if isinstance(part, tuple):
        return all(_bounded(term) for term in part)
    if isinstance(part, BlockRange | StepRange):
        return len(part.items) == 1 and isinstance(part.items[0].first, int) and isinstance(part.items[0].last, int)
    if isinstance(part, FromTo):
        return all(isinstance(bound, int | None) for bound in (part.start, part.stop))
    return isinstance(part, FirstBlocks | LastBlocks | FirstSteps | LastSteps)


def _span(rule: Rule, space: Space) -> tuple[int, int] | None:
    """First and last block of a rule over one range of at least two blocks."""
    if rule.blocks is None:
        return (0, space.spec.blocks - 1) if space.spec.blocks > 1 else None
    if len(rule.blocks) != 1 or not isinstance(rule.blocks[0], BlockRange) or not _bounded(rule.blocks):
        return None
    term = rule.blocks[0]
    item = term.items[0]
    if term.stack is not None or item.by != 1 or not isinstance(item.first, int) or not isinstance(item.last, int):
        return None
    return (item.first, item.last) if item.first < item.last else None


def _moved(first: int, last: int, move: int, limit: int, random: Random) -> tuple[int, int]:
    """One end of a range moved, or a single index shifted; inside 0..limit and never crossed."""
    if first == last and random.random() < 0.5:
        both = min(limit, max(0, first + move))
        return both, both
    if random.random() < 0.5:
        return min(last, max(0, first + move)), last
    return first, max(first, min(limit, last + move))


def _nudged_blocks(term: BlockTerm, move: int, limit: int, random: Random) -> BlockTerm:
    if isinstance(term, FirstBlocks | LastBlocks):
        return replace(term, count=max(1, term.count + move))
    assert isinstance(term, BlockRange)
    item = term.items[0]
    assert isinstance(item.first, int)
    assert isinstance(item.last, int)
    first, last = _moved(item.first, item.last, move, limit, random)
    return replace(term, items=(replace(item, first=first, last=last),))


def _nudged_steps(selector: StepSelector | None, move: int, limit: int, random: Random) -> StepSelector:
    if isinstance(selector, FirstSteps | LastSteps):
        return replace(selector, count=max(1, selector.count + move))
    if isinstance(selector, StepRange):
        item = selector.items[0]
        assert isinstance(item.first, int)
        assert isinstance(item.last, int)
        first, last = _moved(item.first, item.last, move, limit, random)
        return replace(selector, items=(replace(item, first=first, last=last),))
    assert isinstance(selector, FromTo)
    start = selector.start if isinstance(selector.start, int) else None
    stop = selector.stop if isinstance(selector.stop, int) else None
    first, last = _moved(start or 0, limit if stop is None else stop, move, limit, random)
    # An end that was open stays open unless both would be.
    if start is None:
        return FromTo(None, last)
    return FromTo(first, None if stop is None else last)
