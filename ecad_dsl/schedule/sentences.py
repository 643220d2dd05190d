"""A rule as a plain English sentence: what it does on one model, with every name, share and period worked out.

It is written from what the compiler makes of the rule, so that it cannot say anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ecad_dsl.models import ModelSpec, Stack
from ecad_dsl.schedule.compile import Stroke

_FEWEST_TO = 3
"""From this many neighbours on, `3 to 5` instead of `3, 4 and 5`."""
_FEWEST_DOTS = 4
"""From this many evenly spaced numbers on, `0, 2, ..., 6` instead of `0, 2, 4 and 6`."""


def sentence(stroke: Stroke, spec: ModelSpec, steps: int) -> str:
    """What the rule does, to which cells, at which steps. What it says of step 0 is passed over if it is to reuse."""
    if not stroke.cells:
        return f"Does nothing: it selects nothing of {spec.title} in {counted(steps, 'step')}."
    recomputed = sorted(stroke.recomputed)
    reused = sorted(set(stroke.reused) - set(recomputed) - {0})
    cells = describe(stroke.cells, spec)
    if recomputed and reused:
        other = _others(recomputed, reused, steps)
        return f"Recompute {cells} {_at(recomputed, steps)} and reuse {_pronoun(stroke.cells, spec)} {other}."
    if recomputed or reused:
        action = "Recompute" if recomputed else "Reuse"
        return f"{action} {cells} {_at(recomputed or reused, steps)}."
    if stroke.reused:
        return "Does nothing: step 0, the only one that it touches, is always recomputed."
    return "Does nothing: its period comes round at none of its steps."


def describe(cells: int, spec: ModelSpec) -> str:
    """Cells of a row, each component of which is selected in the same blocks of its stack: `ffn of blocks 10 to 20`."""
    if cells == (1 << spec.cells) - 1:
        return "everything"
    places: dict[str, list[str]] = {}
    whole: dict[str, int] = {}
    for stack in spec.stacks:
        name, blocks = _part(cells, spec, stack)
        if blocks:
            places.setdefault(name, []).append(_blocks(blocks, stack, spec))
            whole[name] = whole.get(name, 0) + (len(blocks) == stack.blocks)
    parts = []
    for name, where in places.items():
        preposition = "in" if name == "everything" else "of"
        everywhere = whole[name] == len(spec.stacks)
        parts.append(f"{name} {preposition} " + ("every block" if everywhere else f", and {preposition} ".join(where)))
    return ", and ".join(parts)


def _part(cells: int, spec: ModelSpec, stack: Stack) -> tuple[str, list[int]]:
    """The selected components of a stack, in words, and their blocks."""
    width, first = len(stack.components), spec.offsets[stack.name]
    by_block = [cells >> first + block * width & (1 << width) - 1 for block in range(stack.blocks)]
    blocks = [block for block, bits in enumerate(by_block) if bits]
    if not blocks:
        return "", blocks
    names = [component.name for index, component in enumerate(stack.components) if by_block[blocks[0]] >> index & 1]
    return "everything" if len(names) == width else listed(names), blocks


def _blocks(blocks: Sequence[int], stack: Stack, spec: ModelSpec) -> str:
    noun = "block" if len(spec.stacks) == 1 else f"{stack.name} block"
    if len(blocks) == stack.blocks:
        return f"every {noun}"
    return f"{noun}{'s' * (len(blocks) > 1)} {numbers(blocks)}"


def _pronoun(cells: int, spec: ModelSpec) -> str:
    """`it` for one component, in whatever blocks, and for everything."""
    names = {_part(cells, spec, stack)[0] for stack in spec.stacks} - {""}
    return "them" if len(names) > 1 or " and " in names.pop() else "it"


def _at(steps: Sequence[int], count: int) -> str:
    if len(steps) == count:
        return "at every step"
    return f"at step{'s' * (len(steps) > 1)} {numbers(steps)}"


def _others(recomputed: Sequence[int], reused: Sequence[int], count: int) -> str:
    """The steps of reuse, short where they are what the steps of recomputing leave of a range."""
    if reused[-1] - reused[0] + 1 == len(reused):
        return _at(reused, count)
    together = sorted([*recomputed, *reused])
    first, last = together[0], together[-1]
    if last - first + 1 != len(together):
        return _at(reused, count)
    return "at the other steps" if len(together) == count else f"at the other steps from {first} to {last}"


def numbers(values: Iterable[int]) -> str:
    """Ascending numbers in words: `3`, `3 and 4`, `0, 2, ..., 18`, `1, 5 and 10 to 20`."""
    return listed(list(_runs(list(values))))


def _runs(values: Sequence[int]) -> Iterator[str]:
    at = 0
    while at < len(values):
        stop = _end_of_run(values, at)
        by = values[at + 1] - values[at] if stop - at > 1 else 0
        if by == 1 and stop - at >= _FEWEST_TO:
            yield f"{values[at]} to {values[stop - 1]}"
        elif by > 1 and stop - at >= _FEWEST_DOTS:
            yield f"{values[at]}, {values[at + 1]}, ..., {values[stop - 1]}"
        else:
            stop = at + 1
            yield str(values[at])
        at = stop


def _end_of_run(values: Sequence[int], start: int) -> int:
    """One past the last of the evenly spaced values that begin at ``start``."""
    stop = start + 1
    while stop < len(values) and values[stop] - values[stop - 1] == values[start + 1] - values[start]:
        stop += 1
    return stop


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
