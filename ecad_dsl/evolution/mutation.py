"""Mutations: edits of a rule list that a person could have made. Each is a dataclass with one method.

A mutation returns new rules, or None where it finds nothing to edit. Whatever it makes of rules that compile compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ecad_dsl.evolution.genome import Rules, Space
from ecad_dsl.evolution.parts import (
    Random,
    component_names,
    fitted,
    random_blocks,
    random_components,
    random_every,
    random_rule,
    random_steps,
    ranges,
    selected,
)
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
            terms[which] = _nudged_blocks(terms[which], move, space, random)
            rule = replace(rule, blocks=tuple(terms))
        else:
            rule = replace(rule, steps=_nudged_steps(rule.steps, move, space, random))
        return _with(rules, index, fitted(rule, space))


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
            blocks = None if lift else random_blocks(space, random)
            return _with(rules, index, fitted(replace(rule, blocks=blocks), space))
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
        return _with(rules, index, fitted(replace(rules[index], components=random_components(space, random)), space))


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
    """Cut a rule in two that can go separate ways: by its blocks, its components, or its steps. Changes no cell."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random, lambda rule: any(True for _ in _halves(rule, space)))
        if index is None:
            return None
        ways = list(_halves(rules[index], space))
        halves = ways[int(random.integers(len(ways)))]
        cuts = list(halves)
        first, second = cuts[int(random.integers(len(cuts)))]
        return (*rules[:index], first, second, *rules[index + 1 :])


@dataclass(frozen=True)
class Merge:
    """Make one rule of two that do the same to different blocks. Changes no cell where they are neighbours."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        pairs = [
            (i, j)
            for i, one in enumerate(rules)
            for j in range(i + 1, len(rules))
            if replace(one, blocks=None) == replace(rules[j], blocks=None)
        ]
        if not pairs:
            return None
        i, j = pairs[int(random.integers(len(pairs)))]
        together = {block for rule in (rules[i], rules[j]) for block in selected(rule.blocks, space)}
        everywhere = len(together) == space.spec.blocks
        blocks = None if everywhere else (BlockRange(ranges(sorted(together))),)
        return _with(rules[:i] + rules[i + 1 :], j - 1, replace(rules[j], blocks=blocks))


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
    """Do the opposite at one step for a few neighbouring cells; a rule that lists such steps takes in one more."""

    width: int = 4

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        schedule = space.compiled(rules)
        if schedule is None or space.steps < 2:
            return None
        step = int(random.integers(1, space.steps))
        first = int(random.integers(space.spec.blocks))
        last = min(space.spec.blocks - 1, first + int(random.integers(self.width)))
        blocks = None if random.random() < 0.6 else (BlockRange((Range(first, last),)),)
        rule = fitted(Rule(Action.RECOMPUTE, _often_all(space, random), blocks, None, _at([step])), space)
        stroke = space.paints(rule)
        assert stroke is not None
        recomputed = (schedule.rows[step] & stroke.cells).bit_count()
        if 2 * recomputed > stroke.cells.bit_count():
            rule = replace(rule, action=Action.REUSE)
        return _listed(rules, rule, step)


@dataclass(frozen=True)
class Reschedule:
    """Let a rule that lists its steps list one more or one less, or move one of them."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random, _lists)
        if index is None:
            return None
        return _with(
            rules, index, replace(rules[index], steps=_at(_edited(_listed_steps(rules[index]), space, random)))
        )


@dataclass(frozen=True)
class Retime:
    """Let a recurring rule list the steps at which it recomputes, with one more, one less, or one of them moved."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        index = _pick(rules, random, lambda rule: rule.action is Action.CACHE)
        if index is None:
            return None
        rule = rules[index]
        stroke = space.paints(rule)
        assert stroke is not None
        # Nobody need say that step 0 recomputes.
        recomputed = [step for step in stroke.recomputed if step > 0]
        reused = rule.steps if stroke.reused[0] > 0 or len(stroke.reused) < space.steps else None
        base = replace(rule, action=Action.REUSE, every=None, steps=reused)
        if not recomputed:
            return _with(rules, index, base)
        listed = replace(base, action=Action.RECOMPUTE, steps=_at(_edited(recomputed, space, random)))
        return (*rules[:index], base, listed, *rules[index + 1 :])


@dataclass(frozen=True)
class Shake:
    """Move one recompute of some components to the step before or after it."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        schedule = space.compiled(rules)
        if schedule is None or space.steps < 3:
            return None
        rule = Rule(Action.RECOMPUTE, _often_all(space, random))
        if random.random() < 0.3:
            rule = fitted(replace(rule, blocks=random_blocks(space, random)), space)
        stroke = space.paints(rule)
        assert stroke is not None
        cells = stroke.cells
        busy = [
            step for step in range(1, space.steps) if 2 * (schedule.rows[step] & cells).bit_count() > cells.bit_count()
        ]
        if not busy:
            return None
        step = busy[int(random.integers(len(busy)))]
        beside = step + (1 if random.random() < 0.5 else -1)
        if not 1 <= beside < space.steps or beside in busy:
            return None
        rules = _listed(rules, replace(rule, action=Action.REUSE, steps=_at([step])), step)
        return _listed(rules, replace(rule, steps=_at([beside])), beside)


@dataclass(frozen=True)
class Align:
    """Recompute everything at the steps at which much is recomputed, and nothing at the others."""

    def __call__(self, rules: Rules, space: Space, random: Random) -> Rules | None:
        schedule = space.compiled(rules)
        if schedule is None:
            return None
        much = (0.2 + 0.6 * random.random()) * space.spec.cells
        steps = [step for step in range(1, space.steps) if schedule.rows[step].bit_count() > much]
        everything = Components(("all",))
        reuse = Rule(Action.REUSE, everything)
        return (reuse, Rule(Action.RECOMPUTE, everything, steps=_at(steps))) if steps else (reuse,)


MUTATIONS: tuple[tuple[Mutation, float], ...] = (
    (Nudge(), 3.0),
    (Rescope(), 1.5),
    (Repeat(), 2.0),
    (Shift(), 3.0),
    (Retarget(), 1.5),
    (SwitchAction(), 0.5),
    (Insert(), 1.5),
    (Drop(), 1.5),
    (Split(), 1.0),
    (Merge(), 0.5),
    (Swap(), 0.5),
    (Patch(), 4.0),
    (Reschedule(), 4.0),
    (Retime(), 2.0),
    (Shake(), 4.0),
    (Align(), 1.0),
)
"""Every mutation with its rate at the start of a search."""


# ----------------------------------------------------------------------------------------------- small tools


def _pick(rules: Rules, random: Random, fits: Callable[[Rule], bool] = lambda _: True) -> int | None:
    indices = [i for i, rule in enumerate(rules) if fits(rule)]
    return indices[int(random.integers(len(indices)))] if indices else None


def _with(rules: Rules, index: int, rule: Rule) -> Rules:
    return (*rules[:index], rule, *rules[index + 1 :])


def _often_all(space: Space, random: Random) -> Components:
    """Steps differ more than components do, so that most edits of steps are of all components."""
    return Components(("all",)) if random.random() < 0.6 else random_components(space, random)


def _edited(listed: Iterable[int], space: Space, random: Random) -> list[int]:
    """Some steps with one more or one less, or with one of them moved a little; never none."""
    steps = set(listed)
    chosen = sorted(steps)[int(random.integers(len(steps)))]
    what = random.random()
    if what < 0.5:
        near = chosen + int(random.integers(1, 3)) * (1 if random.random() < 0.5 else -1)
        steps = steps - {chosen} | {min(space.steps - 1, max(0, near))}
    elif what < 0.75:
        steps.add(int(random.integers(space.steps)))
    elif len(steps) > 1:
        steps.discard(chosen)
    return sorted(steps)


def _listed_steps(rule: Rule) -> list[int]:
    assert isinstance(rule.steps, StepRange)
    return [step for item in rule.steps.items for step in _steps(item)]


def _at(steps: Iterable[int]) -> StepRange:
    return StepRange(ranges(sorted(steps)))


def _listed(rules: Rules, rule: Rule, step: int) -> Rules:
    """Rules that do at this step what the rule says: one that says so of other steps lists it, others leave it out."""
    kept: list[Rule] = []
    home: int | None = None
    for old in rules:
        if _lists(old):
            same = replace(old, action=rule.action, steps=rule.steps) == rule
            if same and old.action is rule.action:
                home = len(kept)
            elif same:
                steps = [other for other in _listed_steps(old) if other != step]
                if steps:
                    kept.append(replace(old, steps=_at(steps)))
                continue
        kept.append(old)
    if home is None:
        return (*kept, rule)
    listed = kept.pop(home)
    return (*kept, replace(listed, steps=_at({step, *_listed_steps(listed)})))


def _lists(rule: Rule) -> bool:
    """Whether a rule says what to do at steps that it lists by number."""
    if not isinstance(rule.steps, StepRange) or rule.every is not None or rule.action is Action.CACHE:
        return False
    return all(isinstance(item.first, int) for item in rule.steps.items)


def _steps(item: Range) -> range:
    assert isinstance(item.first, int)
    assert isinstance(item.last, int)
    return range(item.first, item.last + 1, item.by)


def _halves(rule: Rule, space: Space) -> Iterator[Sequence[tuple[Rule, Rule]]]:
    """Ways to cut a rule in two that together do the same; each way with every place to cut."""
    blocks = selected(rule.blocks, space)
    cuts = []
    for cut in range(1, len(blocks)):
        lower, upper = (replace(rule, blocks=(BlockRange(ranges(part)),)) for part in (blocks[:cut], blocks[cut:]))
        if space.paints(lower) is not None and space.paints(upper) is not None:
            cuts.append((lower, upper))
    if cuts:
        yield cuts
    names = component_names(rule.components, space)
    apart = []
    for name in names if len(names) > 1 else ():
        one = replace(rule, components=Components((name,)))
        rest = replace(rule, components=Components(tuple(other for other in names if other != name)))
        if space.paints(one) is not None and space.paints(rest) is not None:
            apart.append((one, rest))
    if apart:
        yield apart


def _bounded(part: object) -> bool:
    """Whether a clause has an end that can be moved."""
    if isinstance(part, tuple):
        return all(_bounded(term) for term in part)
    if isinstance(part, BlockRange | StepRange):
        return len(part.items) == 1 and isinstance(part.items[0].first, int) and isinstance(part.items[0].last, int)
    if isinstance(part, FromTo):
        return all(isinstance(bound, int | None) for bound in (part.start, part.stop))
    return isinstance(part, FirstBlocks | LastBlocks | FirstSteps | LastSteps)


def _moved(first: int, last: int, move: int, limit: int, random: Random) -> tuple[int, int]:
    """One end of a range moved, or a single index shifted; inside 0..limit and never crossed."""
    if first == last and random.random() < 0.5:
        both = min(limit, max(0, first + move))
        return both, both
    if random.random() < 0.5:
        return min(last, max(0, first + move)), last
    return first, max(first, min(limit, last + move))


def _nudged_blocks(term: BlockTerm, move: int, space: Space, random: Random) -> BlockTerm:
    assert isinstance(term, BlockRange | FirstBlocks | LastBlocks)
    count = len(space.spec.blocks_of(term.stack) or ())
    if isinstance(term, FirstBlocks | LastBlocks):
        return replace(term, count=min(count, max(1, term.count + move)))
    item = term.items[0]
    assert isinstance(item.first, int)
    assert isinstance(item.last, int)
    first, last = _moved(item.first, item.last, move, count - 1, random)
    return replace(term, items=(replace(item, first=first, last=last),))


def _nudged_steps(selector: StepSelector | None, move: int, space: Space, random: Random) -> StepSelector:
    limit = space.steps - 1
    if isinstance(selector, FirstSteps | LastSteps):
        return replace(selector, count=min(space.steps, max(1, selector.count + move)))
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
