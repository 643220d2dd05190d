"""Which rule has the last word on which cells of a step, and what it makes different there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ecad_dsl.models import ModelSpec
from ecad_dsl.schedule.compile import Stroke


class Layer(NamedTuple):
    """What one rule does to one step, in cells as bits of a row."""

    number: int
    """Which rule of the program it is, counted from 0."""
    painted: int
    visible: int
    """Those on which it has the last word."""
    changed: int
    """Those of the visible ones that would be otherwise without the rule."""


def layers(strokes: Sequence[Stroke], spec: ModelSpec, steps: int) -> Iterator[tuple[int, int, list[Layer]]]:
    """Each step with its row and the rules that paint it, the last rule first.

    The last step comes first. Step 0 is left out: its cells are recomputed whatever is said.
    """
    every_cell = (1 << spec.cells) - 1
    sought = [
        (number, stroke.cells, _searchable(stroke.recomputed), _searchable(stroke.reused))
        for number, stroke in enumerate(strokes)
        if stroke.cells
    ]
    for step in range(steps - 1, 0, -1):
        row = every_cell
        painted: list[tuple[int, int, int]] = []
        for number, cells, recomputed, reused in sought:
            if step in recomputed:
                after = row | cells
            elif step in reused:
                after = row & ~cells
            else:
                continue
            painted.append((number, cells, row ^ after))
            row = after
        covered = 0
        found: list[Layer] = []
        for number, cells, different in reversed(painted):
            found.append(Layer(number, cells, cells & ~covered, different & ~covered))
            covered |= cells
        yield step, row, found


def _searchable(steps: Sequence[int]) -> range | frozenset[int]:
    return steps if isinstance(steps, range) else frozenset(steps)
