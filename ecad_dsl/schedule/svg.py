"""Heat maps as a piece of HTML, for notebooks and reports: small, drawn without torch, at home on light and dark pages.

A page sets its own colours as the variables ``--ecad-recompute``, ``--ecad-reuse`` and ``--ecad-page``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from ecad_dsl.models import Stack
from ecad_dsl.schedule.schedule import Schedule

RECOMPUTE = "var(--ecad-recompute,#d1495b)"
REUSE = "var(--ecad-reuse,#8a94a633)"
_PAGE = "var(--ecad-page,var(--jp-layout-color0,#fff))"
_LEFT, _TOP, _BOTTOM = 24, 16, 24
"""Pixels around a panel, for numbers and names."""

Cells = dict[int, list[tuple[int, int]]]
"""For each count of schedules, the (step, block) of the cells that so many of them recompute."""


def heat_map(*schedules: Schedule) -> str:
    """A panel for each component: steps to the right, blocks downwards, coloured = recompute.

    Of several schedules, of one model and number of steps, it shows the share that recomputes each cell: the more, the
    fuller the colour.
    """
    rows = [
        "".join(
            _panel(stack, index, _counts(schedules, stack, index), schedules) for index in range(len(stack.components))
        )
        for stack in schedules[0].spec.stacks
    ]
    return "".join(
        f'<div class="ecad-map" style="display:flex;flex-wrap:wrap;gap:4px 14px">{row}</div>' for row in rows
    )


def caption(schedule: Schedule) -> str:
    """What a heat map shows, in words."""
    total = schedule.steps * schedule.spec.cells
    share = f"{schedule.recomputed:,} of {total:,} cells recomputed ({schedule.recomputed / total:.1%})"
    return f"{schedule.spec.title}, {schedule.steps} steps: {share}"


def as_html(schedule: Schedule) -> str:
    """A heat map with its caption and legend."""
    return (
        f'<figure class="ecad" style="margin:.5em 0"><figcaption style="margin-bottom:.5em">'
        f"{escape(caption(schedule))}<br/>{_key(RECOMPUTE, 'recompute')} {_key(REUSE, 'reuse')}</figcaption>"
        f"{heat_map(schedule)}</figure>"
    )


def _key(colour: str, word: str) -> str:
    return f'<span style="background:{colour};display:inline-block;width:.8em;height:.8em"></span> {word}'


def _counts(schedules: Sequence[Schedule], stack: Stack, index: int) -> Cells:
    size, first = len(stack.components), schedules[0].spec.offsets[stack.name] + index
    cells: Cells = defaultdict(list)
    for step, rows in enumerate(zip(*(schedule.rows for schedule in schedules), strict=True)):
        distinct = Counter(rows)
        for block in range(stack.blocks):
            bit = first + block * size
            if count := sum(times for row, times in distinct.items() if row >> bit & 1):
                cells[count].append((step, block))
    return cells


def _panel(stack: Stack, index: int, cells: Cells, schedules: Sequence[Schedule]) -> str:
    steps, blocks = schedules[0].steps, stack.blocks
    x, y = max(2.0, min(9.0, round(200 / steps, 1))), max(3.0, min(12.0, round(180 / blocks, 1)))
    width, height = steps * x, blocks * y
    name = f"{stack.name}: {stack.components[index].name}"
    fills = "".join(
        f'<path fill="{RECOMPUTE}" fill-opacity="{count / len(schedules):.3g}" d="{_rectangles(places, x, y)}"/>'
        for count, places in sorted(cells.items())
    )
    lines = "".join(f"M{n * x:g} 0v{height:g}" for n in range(1, steps)) if x > 4 else ""
    lines += "".join(f"M0 {n * y:g}h{width:g}" for n in range(1, blocks)) if y > 4 else ""
    numbers = "".join(
        f'<text x="{(step + 0.5) * x:g}" y="{height + 10:g}" text-anchor="middle">{step}</text>'
        for step in _ticks(steps, x)
    ) + "".join(
        f'<text x="-4" y="{(block + 0.5) * y + 3:g}" text-anchor="end">{block}</text>' for block in _ticks(blocks, y)
    )
    whole = (_LEFT + width + 4, _TOP + height + _BOTTOM)
    return (
        f'<svg role="img" aria-label="{escape(name)}" width="{whole[0]:g}" height="{whole[1]:g}" '
        f'viewBox="{-_LEFT} {-_TOP} {whole[0]:g} {whole[1]:g}" fill="currentColor" font-size="9">'
        f'<text y="-5" font-size="11">{escape(name)}</text>'
        f'<rect width="{width:g}" height="{height:g}" fill="{REUSE}"/>{fills}'
        f'<path d="{lines}" stroke="{_PAGE}" stroke-width=".5"/>{numbers}'
        f'<text x="{width / 2:g}" y="{height + 21:g}" text-anchor="middle">denoising step</text></svg>'
    )


def _rectangles(places: Iterable[tuple[int, int]], x: float, y: float) -> str:
    """A path around the cells, one rectangle for each run of blocks at a step."""
    parts: list[str] = []
    run: list[int] = []  # step, first block, last block
    for step, block in sorted(places):
        if run and run[0] == step and run[2] == block - 1:
            run[2] = block
            continue
        parts += [_rectangle(*run, x=x, y=y)] if run else []
        run = [step, block, block]
    return "".join(parts + ([_rectangle(*run, x=x, y=y)] if run else []))


def _rectangle(step: int, first: int, last: int, *, x: float, y: float) -> str:
    return f"M{step * x:g} {first * y:g}h{x:g}v{(last + 1 - first) * y:g}h-{x:g}z"


def _ticks(count: int, size: float) -> range:
    """The numbers that have room, at cells of so many pixels."""
    return range(0, count, next(by for by in (1, 2, 5, 10, 20, 50, 100, 1000, 10_000) if by * size >= 17))
