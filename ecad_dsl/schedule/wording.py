"""From a box of cells to the shortest rule that paints it.

A box says what a rule *must* paint and what it *may* paint. Between the two lies freedom, and with it the choice of
the selectors with the fewest literals. Sets of steps and of blocks are integers here: bit i stands for index i.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec

_MIN_STRIDE = 4
"""Members from which on `first-last by k`, three literals, is shorter than a list."""


_MOST_WEIGHED = 36
"""Of so many members all ways to list them are weighed; their number doubles with every few members more."""


class Steps(NamedTuple):
    """The clauses of a rule that select steps, and what they cost."""

    literals: int
    action: tree.Action
    every: tree.Every | None
    selector: tree.StepSelector | None
    bits: int
    """The steps that the rule paints."""


class Blocks(NamedTuple):
    literals: int
    terms: tuple[tree.BlockTerm, ...] | None
    bits: int
    """The blocks, counted over all stacks, that the terms select."""


def bits_of(indices: Sequence[int] | range) -> int:
    """The set with these members."""
    return sum(1 << index for index in indices)


def members(bits: int) -> list[int]:
    """The members of a set, in ascending order."""
    return [index for index in range(bits.bit_length()) if bits >> index & 1]


def phrase_constant(action: tree.Action, must: int, may: int, count: int) -> Steps:
    """How to select the steps of a `reuse` or `recompute` rule: ``must`` at least, ``may`` at most, of ``count``."""
    choices = chain(_plain(action, must, may, count), _recurring(action, must, may, count))
    return min((c for c in choices if action is tree.Action.RECOMPUTE or not _names_step_0(c)), key=_cost)


def phrase_cache(must: int, may: int, count: int, period: int, phase: int) -> Steps:
    """How to select the steps of a `cache` rule that recomputes where ``step % period == phase``."""
    choices = _plain(tree.Action.CACHE, must, may, count)
    return min((_cached(c, period, phase) for c in choices if phase == 0 or not _names_step_0(c)), key=_cost)


def _names_step_0(phrase: Steps) -> bool:
    """Whether it says in words that it starts at step 0, where a reader would wonder what there is to reuse."""
    return isinstance(phrase.selector, tree.FromTo) and phrase.bits & 1 == 1


def _cost(phrase: Steps | Blocks) -> int:
    return phrase.literals


def _cached(choice: Steps, period: int, phase: int) -> Steps:
    """The periodic clause added, unless the only step of phase 0 is the first one selected: then it says nothing."""
    chosen = members(choice.bits)
    if [step for step in chosen if step % period == phase] == chosen[:1]:
        return choice
    every = tree.Every(period, (phase - chosen[0]) % period)
    return choice._replace(literals=choice.literals + 1 + (every.offset > 0), every=every)


def _plain(action: tree.Action, must: int, may: int, count: int) -> Iterator[Steps]:
    """Ways to select the steps without ``every``."""
    for selector, bits in _windows(must, count):
        if not bits & ~may:
            yield Steps(_literals(selector), action, None, selector, bits)
    for even_or_odd, steps in ((tree.EvenSteps(), range(0, count, 2)), (tree.OddSteps(), range(1, count, 2))):
        bits = bits_of(steps)
        if not must & ~bits and not bits & ~may:
            yield Steps(1, action, None, even_or_odd, bits)
    items, bits = _cover(must, may)
    yield Steps(sum(item.literals for item in items), action, None, tree.StepRange(items), bits)


def _recurring(action: tree.Action, must: int, may: int, count: int) -> Iterator[Steps]:
    """Ways to select the steps as every so many of a window."""
    first = members(must)[0]
    for period in range(2, count):
        comb = bits_of(range(first % period, count, period))
        if must & ~comb:
            continue
        for selector, window in _windows(must, count):
            bits = comb & window
            if not bits & ~may:
                start = members(window)[0]
                every = tree.Every(period, (first - start) % period)
                literals = _literals(selector) + 1 + (every.offset > 0)
                yield Steps(literals, action, every, selector, bits)


def _windows(must: int, count: int) -> Iterator[tuple[tree.FromTo | None, int]]:
    """Every window of steps around ``must``, the simplest first."""
    everything = (1 << count) - 1
    first, last = members(must)[0], must.bit_length() - 1
    yield None, everything
    for start in range(first, 0, -1):
        yield tree.FromTo(start, None), everything >> start << start
    for stop in range(last, count - 1):
        yield tree.FromTo(None, stop), (1 << stop + 1) - 1
    for start in range(first, 0, -1):
        for stop in range(last, count - 1):
            yield tree.FromTo(start, stop), (1 << stop + 1) - (1 << start)


def _literals(window: tree.FromTo | None) -> int:
    return 0 if window is None else (window.start is not None) + (window.stop is not None)


def _cover(must: int, may: int) -> tuple[tuple[tree.Range, ...], int]:
    """Items that hold all of ``must`` and nothing beyond ``may``, and what they hold.

    Those with the fewest literals, as far as :func:`_items_from` knows them, once no more than a few members are left.
    """
    chosen: list[tree.Range] = []
    left = must
    while left.bit_count() > _MOST_WEIGHED:
        item = max(_items_from(left, may), key=lambda item: (left & _held(item)).bit_count() / item.literals)
        chosen.append(item)
        left &= ~_held(item)

    @cache
    def best(left: int) -> tuple[int, tuple[tree.Range, ...]]:
        if not left:
            return 0, ()
        choices = []
        for item in _items_from(left, may):
            cost, rest = best(left & ~_held(item))
            choices.append((cost + item.literals, (item, *rest)))
        return min(choices, key=lambda choice: choice[0])

    items = (*chosen, *best(left)[1])
    bits = 0
    for item in items:
        bits |= _held(item)
    return items, bits


def _items_from(left: int, may: int) -> Iterator[tree.Range]:
    """Items worth trying that start at the first member: alone, the longest run, the best stride."""
    first = (left & -left).bit_length() - 1
    yield tree.Range.single(first)
    best, most = None, _MIN_STRIDE - 1
    for by in range(1, left.bit_length() - first):
        last = first
        while may >> (last + by) & 1:
            last += by
        # An end beyond the last member that is wanted would only make the reader wonder.
        item = tree.Range(first, last, by)
        wanted = left & _held(item)
        item = tree.Range(first, max(first, wanted.bit_length() - 1), by)
        gained = wanted.bit_count()
        if by == 1 and gained > 1:
            yield item
        elif by > 1 and gained > most:
            best, most = item, gained
    if best is not None:
        yield best


def _held(item: tree.Range) -> int:
    assert isinstance(item.first, int)
    assert isinstance(item.last, int)
    return bits_of(range(item.first, item.last + 1, item.by))


def phrase_blocks(must: int, may: int, spec: ModelSpec) -> Blocks:
    """How to select blocks, counted over all stacks: ``must`` at least, ``may`` at most."""
    everything = (1 << spec.blocks) - 1
    if may == everything:
        return Blocks(0, None, everything)
    across = _terms(must, may, spec.blocks, None)
    if len(spec.stacks) == 1:
        return across
    literals, bits = 0, 0
    terms: list[tree.BlockTerm] = []
    for stack in spec.stacks:
        blocks = spec.blocks_of(stack.name)
        assert blocks is not None
        own = (1 << stack.blocks) - 1
        if must >> blocks.start & own:
            phrase = _terms(must >> blocks.start & own, may >> blocks.start & own, stack.blocks, stack.name)
            literals += phrase.literals + 1
            terms += phrase.terms or ()
            bits |= phrase.bits << blocks.start
    return min(Blocks(literals, tuple(terms), bits), across, key=_cost)


def _terms(must: int, may: int, count: int, stack: str | None) -> Blocks:
    """The cheapest term of one axis; what naming the stack costs is not counted."""
    everything = (1 << count) - 1
    if may & everything == everything:
        # Named stacks only: without one, a rule for all blocks has no block clause.
        return Blocks(0, (tree.AllBlocks(stack),), everything)
    low, high = members(must)[0], must.bit_length()
    choices: list[tuple[tree.BlockTerm, int]] = [
        (tree.FirstBlocks(high, stack), (1 << high) - 1),
        (tree.LastBlocks(count - low, stack), everything >> low << low),
        (tree.EvenBlocks(stack), bits_of(range(0, count, 2))),
        (tree.OddBlocks(stack), bits_of(range(1, count, 2))),
    ]
    for term, bits in choices:
        if not must & ~bits and not bits & ~may:
            return Blocks(1, (term,), bits)
    items, bits = _cover(must, may)
    return Blocks(sum(item.literals for item in items), (tree.BlockRange(items, stack),), bits)


def phrase_components(spec: ModelSpec) -> dict[int, tree.Components]:
    """For every set of components that the language can name on this model, the shortest way to name it.

    A set is an integer: one bit for each component of each stack, in order.
    """
    atoms = [(stack.name, index) for stack in spec.stacks for index in range(len(stack.components))]
    own, aliases = list(spec.component_names), [n for n in spec.names if spec.official_name(n) is not None]
    groups = [name for name in spec.names if name not in own and name not in aliases and name != "all"]
    named = {}
    for name in ("all", *own, *groups, *aliases):
        selected = spec.select(name) or {}
        bits = bits_of([i for i, (stack, index) in enumerate(atoms) if index in selected.get(stack, ())])
        if bits:
            named[name] = bits
    everything = (1 << len(atoms)) - 1
    # One more name at a time, so that the first phrase found for a set is a shortest one.
    found: dict[int, tree.Components] = {}
    unions: dict[int, tuple[str, ...]] = {0: ()}
    fresh = dict(unions)
    while fresh:
        grown: dict[int, tuple[str, ...]] = {}
        for bits, names in fresh.items():
            for name, more in named.items():
                if bits | more not in unions and bits | more not in grown:
                    grown[bits | more] = (*names, name)
        for bits, names in grown.items():
            found.setdefault(bits, tree.Components(names))
        for bits, names in fresh.items():
            if names and everything & ~bits:
                found.setdefault(everything & ~bits, tree.Components(("all",), names))
        unions |= grown
        fresh = grown
    return found
