"""Blocks and steps moved to another model or number of steps by their position: where they lie between 0 and 1.

Index i of n fills the stretch from i / n to (i + 1) / n. What a range becomes are the indices whose middle lies in its
stretch, as for a percentage of the language; so that ranges that meet still meet, and neither leave a gap nor
overlap. A range too narrow to hold any middle becomes the one index that it lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import TypeAlias

from ecad_dsl.language import tree
from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.resolve import share

Report: TypeAlias = Callable[[str], None]
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Axis:
    """Places on the source and on the target that stand for each other, ascending; between them all is in proportion.

    ``lowest`` is the first index of the target that an index of the source beyond 0 may become.
    """

    knots: tuple[tuple[int, int], ...]
    lowest: int = 0

    @property
    def count(self) -> int:
        return self.knots[-1][0]

    @property
    def same(self) -> bool:
        return all(source == target for source, target in self.knots)

    def place(self, first: int, stop: int) -> range:
        """What the indices ``first`` to ``stop - 1`` become; at least one index."""
        start, end = (ceil(self._at(Fraction(bound)) - _HALF) for bound in (first, stop))
        if start >= end:
            start = floor(self._at(Fraction(first + stop, 2)))
        if first > 0:
            start = max(start, self.lowest)
        return range(start, max(end, start + 1))

    def _at(self, position: Fraction) -> Fraction:
        """Beyond the ends the proportion of the last stretch goes on: what is too far on the source stays so."""
        pairs = [pair for pair in pairwise(self.knots) if pair[0][0] < pair[1][0]]
        (left, here), (right, there) = next((pair for pair in pairs if position <= pair[1][0]), pairs[-1])
        return here + (position - left) * Fraction(there - here, right - left)


def step_axis(steps: int, to_steps: int) -> Axis:
    """Step 0 is always recomputed, so a selection that leaves it out leaves it out ever after."""
    return Axis(((0, 0), (steps, to_steps)), lowest=min(1, to_steps - 1))


def block_axis(source: ModelSpec, target: ModelSpec) -> Axis:
    """Blocks counted over all stacks; where both have the same stacks, each stack becomes its like."""
    ends = [(0, 0), (source.blocks, target.blocks)]
    names = [stack.name for stack in source.stacks]
    if names == [stack.name for stack in target.stacks]:
        ends = [(0, 0), *((_of(source, name).stop, _of(target, name).stop) for name in names)]
    return Axis(tuple(ends))


def _of(spec: ModelSpec, stack: str | None) -> range:
    blocks = spec.blocks_of(stack)
    assert blocks is not None
    return blocks


def _stack_axis(stack: str | None, source: ModelSpec, target: ModelSpec) -> Axis:
    if stack is None:
        return block_axis(source, target)
    return Axis(((0, 0), (len(_of(source, stack)), len(_of(target, stack)))))


def move_blocks(term: tree.StackTerm, source: ModelSpec, target: ModelSpec, report: Report) -> tree.StackTerm | None:
    """What the term becomes; None for a percentage that holds no block. Percentages mean positions as they are.

    A stack that the target has not becomes what lies at its place, counted over all stacks.
    """
    if target.blocks_of(term.stack) is None:
        return _move_foreign(term, source, target, report)
    axis = _stack_axis(term.stack, source, target)
    if axis.same:
        return term
    match term:
        case tree.BlockRange(items=items):
            return replace(term, items=_move_items(items, axis, report))
        case tree.FirstBlocks(count=count):
            return replace(term, count=axis.place(0, count).stop)
        case tree.LastBlocks(count=count):
            return replace(term, count=_last(count, axis))
        case _:
            return term


def _move_foreign(term: tree.StackTerm, source: ModelSpec, target: ModelSpec, report: Report) -> tree.StackTerm | None:
    blocks = _of(source, term.stack)
    items: list[tree.Range] = []
    for chosen in _ranges(term, len(blocks)):
        inside = blocks[chosen.start : chosen.stop : chosen.step]
        if inside:
            items.append(tree.Range(inside.start, inside[-1], inside.step))
    if not items:
        return None
    return tree.BlockRange(_move_items(items, block_axis(source, target), report))


def _ranges(term: tree.StackTerm, count: int) -> list[range]:
    match term:
        case tree.AllBlocks():
            return [range(count)]
        case tree.EvenBlocks():
            return [range(0, count, 2)]
        case tree.OddBlocks():
            return [range(1, count, 2)]
        case tree.FirstBlocks(count=first):
            return [range(min(first, count))]
        case tree.LastBlocks(count=last):
            return [range(max(0, count - last), count)]
        case tree.BlockRange(items=items):
            return [_indices(item, count) for item in items]


def _indices(item: tree.Range, count: int) -> range:
    """The indices of an item inside what there is."""
    if isinstance(item.first, tree.Percent) and isinstance(item.last, tree.Percent):
        return share(item.first, item.last, count)[:: item.by]
    assert isinstance(item.first, int)
    assert isinstance(item.last, int)
    return range(min(item.first, count), min(item.last + 1, count), item.by)


def move_steps(selector: tree.StepSelector, axis: Axis, report: Report) -> tree.StepSelector:  # noqa: PLR0911
    """What the selector becomes; percentages, `even` and `odd` mean positions and shares as they are."""
    if axis.same:
        return selector
    match selector:
        case tree.StepRange(items=items):
            return replace(selector, items=_move_items(items, axis, report))
        case tree.FirstSteps(count=count):
            return replace(selector, count=axis.place(0, count).stop)
        case tree.LastSteps(count=count):
            return replace(selector, count=_last(count, axis))
        case tree.FromTo(start=int(start), stop=int(stop)):
            moved = axis.place(start, stop + 1)
            return replace(selector, start=moved.start, stop=moved.stop - 1)
        case tree.FromTo(start=int(start), stop=None):
            return replace(selector, start=axis.place(start, max(axis.count, start + 1)).start)
        case tree.FromTo(start=None, stop=int(stop)):
            return replace(selector, stop=axis.place(0, stop + 1).stop - 1)
        case _:
            return selector


def _last(count: int, axis: Axis) -> int:
    return axis.knots[-1][1] - axis.place(axis.count - count, axis.count).start


def _move_items(items: Sequence[tree.Range], axis: Axis, report: Report) -> tuple[tree.Range, ...]:
    """Each item moved, its stride kept; those that add nothing to the ones before are left out."""
    moved: list[tree.Range] = []
    covered: set[int] = set()
    before: set[int] = set()
    merged = False
    for item in items:
        new = _move_item(item, axis)
        old_indices, indices = set(_indices(item, axis.count)), set(_indices(new, axis.knots[-1][1]))
        merged = merged or (bool(indices & covered) and not old_indices & before)
        if not indices or not indices <= covered:
            moved.append(new)
        covered |= indices
        before |= old_indices
    if merged:
        report("ranges that were apart overlap, and are merged")
    return tuple(moved)


def _move_item(item: tree.Range, axis: Axis) -> tree.Range:
    if not isinstance(item.first, int) or not isinstance(item.last, int):
        return item
    moved = axis.place(item.first, item.last + 1)
    last = moved.stop - 1
    return replace(item, first=moved.start, last=last, by=item.by if moved.start < last else 1)
