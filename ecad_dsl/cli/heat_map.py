"""Maps of schedules in the terminal: steps to the right, blocks downwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ecad_dsl.cli.console import console

if TYPE_CHECKING:
    from ecad_dsl.models import ModelSpec, Stack
    from ecad_dsl.schedule import Schedule
    from ecad_dsl.schedule.diff import Diff

_MARGIN = 6
"""Width of the numbers of the blocks."""
# From blue to orange, which colour-blind readers tell apart too; the characters say the same without colours.
_SHADES = {"·": "grey50", "░": "color(67)", "▒": "color(109)", "▓": "color(179)", "█": "color(214)"}
_SIDES = {"·": "grey50", "a": "color(67)", "A": "color(39)", "b": "color(179)", "B": "color(214)", "x": "bold"}


def schedule_map(schedule: Schedule) -> Iterator[str]:
    """Lines of rich markup: the fuller a cell, the more components of the block are recomputed."""
    shades = "".join(_SHADES)

    def glyphs(stack: Stack) -> list[str]:
        size = len(stack.components)
        return ["".join(shades[-(-4 * count // size)] for count in counts) for counts in schedule.counts(stack)]

    yield from _map(schedule.spec, schedule.steps, glyphs, _SHADES)
    yield f"[dim]{shades[0]} all reused, {shades[-1]} all recomputed; between them some components[/]"


def difference_map(diff: Diff) -> Iterator[str]:
    """Lines of rich markup: who alone recomputes components of each block."""
    from ecad_dsl.schedule.schedule import block_counts

    def glyphs(stack: Stack) -> list[str]:
        size = len(stack.components)
        counts = zip(*(block_counts(rows, diff.a.spec, stack) for rows in (diff.only_a, diff.only_b)), strict=True)
        return ["".join(_side(a, b, size) for a, b in zip(*of_block, strict=True)) for of_block in counts]

    yield from _map(diff.a.spec, diff.a.steps, glyphs, _SIDES)
    yield "[dim]A all components recompute in A alone, a some; B, b in B alone; x some in each; · no difference[/]"


def _side(only_a: int, only_b: int, size: int) -> str:
    if only_a and only_b:
        return "x"
    if only_a:
        return "A" if only_a == size else "a"
    if only_b:
        return "B" if only_b == size else "b"
    return "·"


def _map(
    spec: ModelSpec, steps: int, glyphs: Callable[[Stack], Sequence[str]], styles: Mapping[str, str]
) -> Iterator[str]:
    """A character for each block and step, or two of them where the terminal is wide enough.

    More steps than fit side by side continue below: a step is never left out, nor are several made one.
    """
    room = console().width - _MARGIN
    size = 2 if 2 * steps <= room else 1
    band = steps if steps <= room else max(10, room // 10 * 10)
    for stack in spec.stacks:
        lines = glyphs(stack)
        for first in range(0, steps, band):
            last = min(first + band, steps) - 1
            span = f", {first} to {last}" if band < steps else ""
            yield from ("", f"{stack.name}  [dim]step{span}[/]", f"[dim]block {_ruler(first, last, size)}[/]")
            for block, line in enumerate(lines):
                yield f"[dim]{block:>{_MARGIN - 1}}[/] {_coloured(line[first : last + 1], size, styles)}"
    yield ""


def _ruler(first: int, last: int, size: int) -> str:
    between = 10 // size
    return "".join(f"{step:<10}" for step in range(first, last + 1, between)).rstrip()


def _coloured(line: str, size: int, styles: Mapping[str, str]) -> str:
    runs = ((glyph, sum(1 for _ in run)) for glyph, run in groupby(line))
    return "".join(f"[{styles[glyph]}]{glyph * size * count}[/]" for glyph, count in runs)
