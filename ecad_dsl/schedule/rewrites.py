"""Named rewrites: each looks at one statement of a program and proposes shorter programs.

What a rewrite of :data:`PORTABLE` proposes means the same on every model and for every number of steps. The proposals
of :data:`JUDGED` are made for one model and one number of steps, and only compiling tells whether they mean the same:
a selector may shrink or grow over cells that are so already, or that later rules overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.resolve import Resolver, names_in

_MOST_INDICES = 1_000
"""Lists of more indices than these are left as they are written."""

_Selector = TypeVar("_Selector")
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Site:
    """A statement of a program, and what the program is compiled for where that is known."""

    program: tree.Program
    index: int
    spec: ModelSpec | None = None
    steps: int | None = None

    @property
    def statement(self) -> tree.Statement:
        return self.program.statements[self.index]

    @property
    def rule(self) -> tree.Rule | None:
        return self.statement if isinstance(self.statement, tree.Rule) else None

    @property
    def later_rules(self) -> Iterator[tuple[int, tree.Rule]]:
        """The rules below the statement, with their places."""
        for index, statement in enumerate(self.program.statements[self.index + 1 :], self.index + 1):
            if isinstance(statement, tree.Rule):
                yield index, statement

    def with_statement(self, statement: tree.Statement) -> tree.Program:
        return _with(self.program, self.index, statement)

    def resolver(self) -> Resolver:
        """Knows the names that the program binds."""
        resolver = Resolver(self.program, self.spec, self.steps)
        for statement in self.program.statements:
            if isinstance(statement, tree.Let):
                resolver.bind(statement)
        return resolver


Rewrite = Callable[[Site], Iterator[tree.Program]]


def without(program: tree.Program, index: int) -> tree.Program:
    """The program less one statement and its comments.

    Comments that open the program, or that a blank line parts from the statement, are not its own: they stay.
    """
    above = program.statements[index].above
    own = 0 if index == 0 else next((n for n, line in enumerate(reversed(above)) if not line), len(above))
    kept = above[: len(above) - own]
    program = _less(program, index)
    if index == len(program.statements):
        return replace(program, below=kept + program.below)
    below = program.statements[index]
    return _with(program, index, replace(below, above=kept + below.above))


# Valid on every model and for every number of steps.


def plain_period(site: Site) -> Iterator[tree.Program]:
    """``every 1 step`` is every step: without it, `cache` becomes `recompute`."""
    rule = site.rule
    if rule is not None and rule.every is not None and rule.every.period == 1:
        action = tree.Action.RECOMPUTE if rule.action is tree.Action.CACHE else rule.action
        yield site.with_statement(replace(rule, action=action, every=None))


def open_end(site: Site) -> Iterator[tree.Program]:
    """``from step 0`` and ``to step 100%`` say nothing."""
    rule = site.rule
    if rule is None or not isinstance(rule.steps, tree.FromTo):
        return
    start = None if rule.steps.start in (0, tree.Percent(0)) else rule.steps.start
    stop = None if rule.steps.stop == tree.Percent(100) else rule.steps.stop
    steps = None if start is None and stop is None else tree.FromTo(start, stop, span=rule.steps.span)
    yield site.with_statement(replace(rule, steps=steps))


def every_block(site: Site) -> Iterator[tree.Program]:
    """``in all blocks`` says nothing."""
    rule = site.rule
    if rule is not None and rule.blocks is not None and tree.AllBlocks() in rule.blocks:
        yield site.with_statement(replace(rule, blocks=None))


def name_once(site: Site) -> Iterator[tree.Program]:
    """Each component is named once, and none beside `all`."""
    rule = site.rule
    if rule is not None:
        names, excluded = _unique(rule.components.names), _unique(rule.components.excluded)
        if "all" in names:
            names = ("all",)
        yield site.with_statement(replace(rule, components=tree.Components(names, excluded)))


def tidy_items(site: Site) -> Iterator[tree.Program]:
    """Numbers in order, each once, runs and strides as ranges: ``2, 0, 1`` is ``0-2``."""
    statement = site.statement
    if isinstance(statement, tree.Rule):
        blocks = None if statement.blocks is None else tuple(map(_tidied, statement.blocks))
        yield site.with_statement(replace(statement, blocks=blocks, steps=_tidied(statement.steps)))
    elif isinstance(statement, tree.Let):
        value = statement.value
        tidy = tuple(map(_tidied, value)) if isinstance(value, tuple) else _tidied(value)
        yield site.with_statement(replace(statement, value=tidy))


def join_terms(site: Site) -> Iterator[tree.Program]:
    """Ranges of the same blocks in one term, and no term twice: ``single blocks 1 and single blocks 5`` is one."""
    rule = site.rule
    if rule is None or rule.blocks is None:
        return
    items: dict[str | None, tuple[tree.Range, ...]] = {}
    for term in rule.blocks:
        if isinstance(term, tree.BlockRange):
            items[term.stack] = items.get(term.stack, ()) + term.items
    terms = [tree.BlockRange(items[t.stack], t.stack) if isinstance(t, tree.BlockRange) else t for t in rule.blocks]
    yield site.with_statement(replace(rule, blocks=tuple(dict.fromkeys(terms))))


def merge_neighbours(site: Site) -> Iterator[tree.Program]:
    """A rule and the next one as one rule, where they differ in their components, their blocks or their steps alone.

    Steps can be united where each is painted for itself: by a `reuse` or a `recompute` without a period.
    """
    rule = site.rule
    index, other = next(site.later_rules, (0, None))
    if rule is None or other is None or rule.components.excluded != other.components.excluded:
        return
    steps = rule.steps
    if rule.steps != other.steps:
        items = [_as_items(selector) for selector in (rule.steps, other.steps)]
        if rule.action is tree.Action.CACHE or rule.every is not None or not all(items):
            return
        steps = tree.StepRange((*items[0], *items[1]))
    merged = _merged(rule, other, steps)
    if merged is not None:
        # In the later one's place: names that it uses may be bound between the two.
        yield _less(_with(site.program, index, merged), site.index)


def drop_overwritten(site: Site) -> Iterator[tree.Program]:
    """A rule all of whose cells a later one paints, whatever the model."""
    rule = site.rule
    if rule is not None and any(_covers(later, rule) for _, later in site.later_rules):
        yield without(site.program, site.index)


def drop_opening_recompute(site: Site) -> Iterator[tree.Program]:
    """A `recompute` above which nothing is reused: every cell starts recomputed."""
    rules = site.program.statements[: site.index + 1]
    if all(rule.action is tree.Action.RECOMPUTE for rule in rules if isinstance(rule, tree.Rule)) and site.rule:
        yield without(site.program, site.index)


def drop_unused_let(site: Site) -> Iterator[tree.Program]:
    """A name that nothing uses."""
    let = site.statement
    if isinstance(let, tree.Let) and not _uses(site.program, let.name):
        yield without(site.program, site.index)


def inline_let(site: Site) -> Iterator[tree.Program]:
    """A name that one rule uses once gives way to what it stands for, where that is no longer."""
    let = site.statement
    if not isinstance(let, tree.Let) or _uses(site.program, let.name) != 1:
        return
    for index, rule in site.later_rules:
        if let.name in names_in(rule.components, rule.blocks, rule.steps):
            inlined = _inlined(rule, let)
            if inlined is not None:
                yield without(_with(site.program, index, inlined), site.index)


PORTABLE: tuple[Rewrite, ...] = (
    plain_period,
    open_end,
    every_block,
    name_once,
    join_terms,
    tidy_items,
    merge_neighbours,
    drop_overwritten,
    drop_opening_recompute,
    drop_unused_let,
    inline_let,
)


# For one model and number of steps, to be judged by compiling.


def drop_rule(site: Site) -> Iterator[tree.Program]:
    """A rule left out."""
    if site.rule is not None:
        yield without(site.program, site.index)


def drop_part(site: Site) -> Iterator[tree.Program]:
    """A clause left out, or a part of one: a component, a block term, an item, an end, an offset, a stride."""
    rule = site.rule
    if rule is None:
        return
    if rule.blocks is not None:
        yield site.with_statement(replace(rule, blocks=None))
        for blocks in _less_blocks(rule.blocks):
            yield site.with_statement(replace(rule, blocks=blocks))
    if rule.steps is not None:
        yield site.with_statement(replace(rule, steps=None))
        for steps in _less_steps(rule):
            yield site.with_statement(replace(rule, steps=steps))
    if rule.every is not None:
        yield site.with_statement(replace(rule, every=None))
        if rule.every.offset:
            yield site.with_statement(replace(rule, every=tree.Every(rule.every.period)))
    names, excluded = rule.components.names, rule.components.excluded
    for fewer in _less_one(names):
        yield site.with_statement(replace(rule, components=tree.Components(fewer, excluded)))
    for fewer in _less_one(excluded):
        yield site.with_statement(replace(rule, components=tree.Components(names, fewer)))
    if excluded:
        yield site.with_statement(replace(rule, components=tree.Components(names)))


def bridge_gap(site: Site) -> Iterator[tree.Program]:
    """Two items of a list as one range from the first to the last: ``0-4, 6-9`` as ``0-9``."""
    rule = site.rule
    if rule is None:
        return
    blocks = rule.blocks or ()
    for index, term in enumerate(blocks):
        if isinstance(term, tree.BlockRange):
            terms = (tree.BlockRange(items, term.stack) for items in _bridged(term.items))
            yield from _shorter(site, (replace(rule, blocks=_put(blocks, index, bridged)) for bridged in terms))
    if isinstance(rule.steps, tree.StepRange):
        selectors = map(tree.StepRange, _bridged(rule.steps.items))
        yield from _shorter(site, (replace(rule, steps=selector) for selector in selectors))


def name_components(site: Site) -> Iterator[tree.Program]:
    """One name instead of several, or all except one: ``self, cross`` is ``attn`` on PixArt."""
    rule, spec = site.rule, site.spec
    if rule is None or spec is None:
        return
    names = ("all", *spec.component_names, *(group for group in spec.groups if spec.groups[group]))
    phrases = [tree.Components((name,)) for name in names]
    phrases += [tree.Components(("all",), (name,)) for name in names[1:]]
    yield from _shorter(site, (replace(rule, components=components) for components in phrases))


def name_blocks(site: Site) -> Iterator[tree.Program]:
    """Blocks in other words: ``0-9`` are the first 10, ``0-26 by 2`` the even ones of 28."""
    rule, spec = site.rule, site.spec
    if rule is None or spec is None or rule.blocks is None:
        return
    cells = site.resolver().blocks(rule.blocks)
    chosen = [block for block in range(spec.blocks) if cells & spec.block_bits(range(block, block + 1))]
    for stack in (*(stack.name for stack in spec.stacks), None):
        there = spec.blocks_of(stack)
        if chosen and there is not None and chosen[0] in there and chosen[-1] in there:
            terms = _block_terms([block - there.start for block in chosen], len(there), stack)
            yield from _shorter(site, (replace(rule, blocks=(term,)) for term in terms))


def name_steps(site: Site) -> Iterator[tree.Program]:
    """Steps in other words: ``10-19`` of 20 are those from step 10."""
    rule = site.rule
    if rule is None or rule.steps is None:
        return
    chosen = site.resolver().steps(rule.steps)
    if not chosen:
        return
    first, last = chosen[0], chosen[-1]
    words: list[tree.StepSelector] = [tree.FromTo(first, None), tree.EvenSteps(), tree.OddSteps()]
    if first == 0 or rule.action is not tree.Action.REUSE:
        words.append(tree.FirstSteps(last + 1))
    words += [tree.FromTo(first, last), tree.StepRange(_items(chosen))]
    yield from _shorter(site, (replace(rule, steps=selector) for selector in words))


def merge_apart(site: Site) -> Iterator[tree.Program]:
    """A rule and a later one as one rule, in the place of either."""
    rule = site.rule
    for index, other in site.later_rules if rule is not None else ():
        assert rule is not None
        steps = rule.steps
        if rule.steps != other.steps:
            if (rule.components, rule.blocks) != (other.components, other.blocks):
                continue
            chosen = [set(site.resolver().steps(selector)) for selector in (rule.steps, other.steps)]
            steps = tree.StepRange(_items(sorted(set.union(*chosen)))) if all(chosen) else other.steps
        merged = _merged(rule, other, steps)
        if merged is not None:
            yield _less(site.with_statement(merged), index)
            yield _less(_with(site.program, index, merged), site.index)


JUDGED: tuple[Rewrite, ...] = (
    drop_rule,
    merge_apart,
    drop_part,
    name_components,
    name_blocks,
    name_steps,
    bridge_gap,
)


# Statements.


def _shorter(site: Site, rules: Iterable[tree.Rule]) -> Iterator[tree.Program]:
    """The program with each rule of fewer literals: other words alone are no reason to change those of the author."""
    for rule in rules:
        if site.rule is not None and rule.literals < site.rule.literals:
            yield site.with_statement(rule)


def _put(items: Sequence[_Item], index: int, item: _Item) -> tuple[_Item, ...]:
    return (*items[:index], item, *items[index + 1 :])


def _with(program: tree.Program, index: int, statement: tree.Statement) -> tree.Program:
    return replace(program, statements=_put(program.statements, index, statement))


def _less(program: tree.Program, index: int) -> tree.Program:
    return replace(program, statements=program.statements[:index] + program.statements[index + 1 :])


def _merged(one: tree.Rule, other: tree.Rule, steps: tree.StepSelector | None) -> tree.Rule | None:
    """One rule for the cells of two that differ in one clause; None if they differ in more. All comments are kept."""
    differences = (one.components != other.components) + (one.blocks != other.blocks) + (one.steps != other.steps)
    if differences != 1 or (one.action, one.every) != (other.action, other.every):
        return None
    components, blocks = one.components, one.blocks
    if one.components != other.components:
        excluded = tuple(name for name in one.components.excluded if name in other.components.excluded)
        components = tree.Components(_unique(one.components.names + other.components.names), excluded)
    if one.blocks != other.blocks:
        blocks = None if one.blocks is None or other.blocks is None else one.blocks + other.blocks
    above = one.above
    if one.beside and other.beside:
        above += (one.beside,)
    above += tuple(filter(None, other.above))
    beside = other.beside or one.beside
    return replace(one, components=components, blocks=blocks, steps=steps, above=above, beside=beside)


def _uses(program: tree.Program, name: str) -> int:
    """How often the name stands in a selector."""
    count = 0
    for statement in program.statements:
        if isinstance(statement, tree.Rule):
            names = names_in(statement.components, statement.blocks, statement.steps)
        elif isinstance(statement, tree.Let):
            names = names_in(statement.value)
        else:
            continue
        count += sum(other == name for other in names)
    return count


def _inlined(rule: tree.Rule, let: tree.Let) -> tree.Rule | None:
    """The rule with what the name stands for in its place; None where that cannot be written there."""
    match let.value:
        case tree.Components(names=value, excluded=()):
            names, excluded = (
                tuple(name for old in part for name in (value if old == let.name else (old,)))
                for part in (rule.components.names, rule.components.excluded)
            )
            return replace(rule, components=tree.Components(names, excluded))
        case tuple() as terms:
            blocks = [new for old in rule.blocks or () for new in (terms if old == tree.Name(let.name) else (old,))]
            return replace(rule, blocks=tuple(blocks))
        case tree.Components() | tree.Name():
            return None
        case selector:
            return replace(rule, steps=selector)


def _covers(later: tree.Rule, rule: tree.Rule) -> bool:
    """Whether a later rule paints every cell that the rule paints, on whatever model."""
    leaves_out = later.every is not None and later.action is not tree.Action.CACHE
    leaves_out_the_same = rule.action is not tree.Action.CACHE and (rule.every, rule.steps) == (
        later.every,
        later.steps,
    )
    if leaves_out and not leaves_out_the_same:
        return False
    mine, theirs = rule.components, later.components
    components = "all" in theirs.names or set(mine.names) <= set(theirs.names)
    blocks = later.blocks is None or (
        rule.blocks is not None and all(any(_within(term, other) for other in later.blocks) for term in rule.blocks)
    )
    steps = later.steps is None or _within(rule.steps, later.steps)
    return components and set(theirs.excluded) <= set(mine.excluded) and blocks and steps


# Selectors.


def _unique(items: Iterable[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(items))


def _less_one(items: Sequence[_Item]) -> Iterator[tuple[_Item, ...]]:
    """The items less one of them; never nothing."""
    for index in range(len(items) if len(items) > 1 else 0):
        yield (*items[:index], *items[index + 1 :])


def _less_blocks(terms: tuple[tree.BlockTerm, ...]) -> Iterator[tuple[tree.BlockTerm, ...]]:
    yield from _less_one(terms)
    for index, term in enumerate(terms):
        if isinstance(term, tree.BlockRange):
            for items in _less_items(term.items):
                yield _put(terms, index, tree.BlockRange(items, term.stack))


def _less_steps(rule: tree.Rule) -> Iterator[tree.StepSelector]:
    match rule.steps:
        case tree.StepRange(items=items):
            yield from map(tree.StepRange, _less_items(items))
        case tree.FromTo(start=start, stop=stop) if start is not None and stop is not None:
            yield tree.FromTo(start, None)
            # Not so that a reader wonders how step 0 could be reused.
            if rule.action is not tree.Action.REUSE:
                yield tree.FromTo(None, stop)


def _less_items(items: tuple[tree.Range, ...]) -> Iterator[tuple[tree.Range, ...]]:
    yield from _less_one(items)
    for index, item in enumerate(items):
        if not item.is_single and isinstance(item.first, int):
            for end in (item.first, item.last):
                yield _put(items, index, tree.Range.single(end))
        if item.by != 1:
            yield _put(items, index, tree.Range(item.first, item.last))


def _bridged(items: tuple[tree.Range, ...]) -> Iterator[tuple[tree.Range, ...]]:
    for index, (one, other) in enumerate(pairwise(items)):
        numbers = isinstance(one.first, int) and isinstance(other.last, int) and one.first < other.last
        if numbers and not (one.is_single and other.is_single):
            yield (*items[:index], tree.Range(one.first, other.last), *items[index + 2 :])


def _block_terms(chosen: Sequence[int], count: int, stack: str | None) -> Iterator[tree.BlockTerm]:
    """Words that may say these blocks of ``count``."""
    if stack is not None:
        yield tree.AllBlocks(stack)
    yield tree.FirstBlocks(chosen[-1] + 1, stack)
    yield tree.LastBlocks(count - chosen[0], stack)
    yield tree.EvenBlocks(stack)
    yield tree.OddBlocks(stack)
    yield tree.BlockRange(_items(chosen), stack)


def _tidied(selector: _Selector) -> _Selector:
    match selector:
        case tree.BlockRange(items=items, stack=stack):
            return tree.BlockRange(_tidied_items(items), stack)  # type: ignore[return-value]
        case tree.StepRange(items=items):
            return tree.StepRange(_tidied_items(items))  # type: ignore[return-value]
        case _:
            return selector


def _tidied_items(items: tuple[tree.Range, ...]) -> tuple[tree.Range, ...]:
    numbers = [span for item in items if (span := _span(item)) is not None]
    if sum(map(len, numbers)) > _MOST_INDICES:
        return items
    indices = sorted({index for span in numbers for index in span})
    return (*_items(indices), *_unique(item for item in items if _span(item) is None))


def _items(indices: Sequence[int]) -> tuple[tree.Range, ...]:
    """Exactly these indices, which are in ascending order, in few numbers."""
    if len(indices) > _MOST_INDICES:
        return tuple(map(tree.Range.single, indices))
    ways = [_gathered(indices, most) for most in (1, len(indices))]
    return min(ways, key=lambda items: sum(item.literals for item in items))


def _gathered(indices: Sequence[int], most: int) -> tuple[tree.Range, ...]:
    """From the first index on, always the longest run; its stride is the distance to one of the next ``most``."""
    everything, left, items = set(indices), list(indices), []
    while left:
        first, best = left[0], range(left[0], left[0] + 1)
        for other in left[1 : most + 1]:
            by = other - first
            stop = other
            while stop + by in everything:
                stop += by
            run = range(first, stop + 1, by)
            # Two numbers and a stride are worth it from four members on.
            if len(run) > len(best) and (by == 1 or len(run) > 3):
                best = run
        items.append(tree.Range(best[0], best[-1], best.step))
        left = [index for index in left if index not in best]
    return tuple(items)


def _span(item: tree.Range) -> range | None:
    """The indices of an item on an axis without end; None if it is a share of one."""
    if isinstance(item.first, int) and isinstance(item.last, int):
        return range(item.first, item.last + 1, item.by)
    return None


def _spans(selector: object) -> tuple[str | None, list[range | None]]:
    """The stack of a selector, and its indices on an axis without end; none of them where the end matters."""
    match selector:
        case tree.BlockRange(items=items, stack=stack):
            return stack, list(map(_span, items))
        case tree.FirstBlocks(count=count, stack=stack):
            return stack, [range(count)]
        case tree.StepRange(items=items):
            return None, list(map(_span, items))
        case tree.FirstSteps(count=count):
            return None, [range(count)]
        case tree.FromTo(start=int() | None as start, stop=int() | None as stop):
            return None, [range(start or 0, tree.MAX_INT + 1 if stop is None else stop + 1)]
        case _:
            return None, []


def _within(selector: object, other: object) -> bool:
    """Whether ``other`` selects whatever ``selector`` does, on whatever model. False where that cannot be told."""
    if selector == other:
        return True
    (stack, mine), (their_stack, theirs) = _spans(selector), _spans(other)
    return (
        bool(mine)
        and stack == their_stack
        and all(
            one is not None
            and any(o is not None and o.step == 1 and o.start <= one.start and one.stop <= o.stop for o in theirs)
            for one in mine
        )
    )


def _as_items(selector: tree.StepSelector | None) -> tuple[tree.Range, ...]:
    """The items that select the same steps; none where the number of steps matters."""
    match selector:
        case tree.StepRange(items=items):
            return items
        case tree.FromTo(start=int() | None as start, stop=int() as stop):
            return (tree.Range(start or 0, stop),)
        case tree.FromTo(start=tree.Percent() as start, stop=tree.Percent() as stop):
            return (tree.Range(start, stop),)
        case tree.FirstSteps(count=count):
            return (tree.Range(0, count - 1),)
        case _:
            return ()
