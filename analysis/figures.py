"""Figures: heat maps of schedules, Pareto plots, grids of pictures. Written as PNG or SVG by the file's suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_beside
from ecad_dsl.schedule import Schedule

INK = "#1f2933"
RECOMPUTE, REUSE = "#d1495b", "#e9ecef"
COLOURS = {"none": "#1f2933", "fewer steps": "#8d99ae", "baseline": "#2e86ab", "evolved": "#d1495b"}
MARKERS = {"none": "*", "fewer steps": "s", "baseline": "o", "evolved": "D"}


def heat_map(schedule: Schedule, path: Path, title: str = "") -> None:
    """A panel for each component of each stack: steps to the right, blocks downwards, coloured = recompute."""
    panels = [(stack, index) for stack in schedule.spec.stacks for index in range(len(stack.components))]
    columns = max(len(stack.components) for stack in schedule.spec.stacks)
    rows = len(schedule.spec.stacks)
    heights = [stack.blocks for stack in schedule.spec.stacks]
    width = min(12.0, max(2.4, 0.13 * schedule.steps))
    size = (1.2 + columns * width, 1.4 + sum(min(12.0, max(1.6, 0.13 * h)) for h in heights))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=[max(1.6, 0.13 * h) for h in heights])
    for axis in axes.flat:
        axis.set_visible(False)
    for stack, index in panels:
        place = schedule.spec.stacks.index(stack)
        axis = axes[place, index]
        axis.set_visible(True)
        _draw_cells(axis, np.asarray(schedule.masks[stack.name][:, :, index].T))
        axis.set_title(f"{stack.name}: {stack.components[index].name}", fontsize=9, color=INK)
        # Panels share their blocks with those beside them, and their steps with those below.
        left = index == 0
        bottom = all(len(below.components) <= index for below in schedule.spec.stacks[place + 1 :])
        axis.tick_params(labelsize=7, left=left, labelleft=left, bottom=bottom, labelbottom=bottom)
        _tick_cells(axis, schedule.steps, stack.blocks)
        if left:
            axis.set_ylabel("block", fontsize=8)
        if bottom:
            axis.set_xlabel("step", fontsize=8)
    total = schedule.steps * schedule.spec.cells
    note = f"recomputed: {schedule.recomputed:,} of {total:,} cells ({schedule.recomputed / total:.1%})"
    figure.suptitle(f"{title}\n{note}" if title else note, fontsize=10, color=INK)
    _save(figure, path)


def pareto_plot(table: pd.DataFrame, path: Path, title: str = "") -> None:
    """Reward against share of the MACs, with 95 % intervals; evolved schedules joined by a line.

    ``table`` is a comparison table of :func:`ecad_dsl.analysis.compare.table`.
    """
    figure = Figure(figsize=(8.5, 5.5), layout="constrained")
    axis = figure.subplots()
    for group, lines in table.groupby("group", sort=False):
        colour = COLOURS.get(str(group), "#6c757d")
        spread = np.array([lines["reward"] - lines["reward_low"], lines["reward_high"] - lines["reward"]])
        axis.errorbar(
            100 * lines["macs_share"], lines["reward"], yerr=spread, fmt=MARKERS.get(str(group), "o"), color=colour,
            ecolor=colour, elinewidth=0.7, alpha=0.9, markersize=9 if group == "none" else 5, label=str(group),
        )  # fmt: skip
        if group == "evolved":
            # All of them, not the best of them on these prompts: that would be choosing on held-out prompts.
            ordered = lines.sort_values("macs")
            axis.plot(100 * ordered["macs_share"], ordered["reward"], color=colour, linewidth=1.2)
        else:
            for _, line in lines.iterrows():
                at = (100 * line["macs_share"], line["reward"])
                axis.annotate(line["name"], at, (5, -10), textcoords="offset points", fontsize=7, color=colour)
    # Schedules that spoil everything would squeeze those that anybody would use into one line.
    hand_made = table[table["group"] != "evolved"]
    if len(hand_made):
        floor = float(hand_made["reward_low"].min())
        axis.set_ylim(bottom=floor - 0.1 * (float(table["reward_high"].max()) - floor))
    axis.set_xlabel("MACs, % of recomputing everything")
    axis.set_ylabel("mean reward")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    axis.set_title(title, fontsize=10, color=INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    _save(figure, path)


def picture_grid(rows: Sequence[tuple[str, Any]], captions: Sequence[str], path: Path) -> None:
    """A grid of pictures: a row for each (label, pictures [count, 3, height, width] in [0, 1]), a column a caption."""
    columns = len(captions)
    figure = Figure(figsize=(1.1 + 1.25 * columns, 0.6 + 1.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, pictures), line in zip(rows, axes, strict=True):
        for picture, axis in zip(pictures, line, strict=True):
            axis.imshow(np.asarray(picture).transpose(1, 2, 0), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=INK)
    for caption, axis in zip(captions, axes[0], strict=True):
        axis.set_title(fill(caption, 18), fontsize=6.5, color=INK)
    _save(figure, path)


def _draw_cells(axis: Any, cells: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    """Cells [blocks, steps]. All that are coloured are one shape, and so are the lines between: an SVG stays small."""
    blocks, steps = cells.shape
    edges = np.diff(np.pad(cells.astype(np.int8).T, ((0, 0), (1, 1))))
    x, top = np.nonzero(edges > 0)
    bottom = np.nonzero(edges < 0)[1]
    corners = np.stack([x, top, x + 1, top, x + 1, bottom, x, bottom, x, top], axis=1).reshape(-1, 2)
    axis.add_patch(
        PathPatch(
            Outline(corners, [Outline.MOVETO, *3 * [Outline.LINETO], Outline.CLOSEPOLY] * len(x)),
            facecolor=RECOMPUTE,
            linewidth=0,
        )
    )
    axis.set(xlim=(0, steps), ylim=(blocks, 0), facecolor=REUSE)
    if steps <= 100:  # Lines between cells would cover cells as narrow as theirs.
        ends = [((x, 0), (x, blocks)) for x in range(1, steps)] + [((0, y), (steps, y)) for y in range(1, blocks)]
        points = [point for start, stop in ends for point in (start, stop, (np.nan, np.nan))]
        axis.plot(*zip(*points, strict=True), color="white", linewidth=0.4)


def _tick_cells(axis: Any, steps: int, blocks: int) -> None:
    """Numbers below the middle of cells, not between them."""
    for set_ticks, count in ((axis.set_xticks, steps), (axis.set_yticks, blocks)):
        numbers = range(0, count, max(1, -(-count // 10)))
        set_ticks([number + 0.5 for number in numbers], [str(number) for number in numbers])


def _save(figure: Figure, path: Path) -> None:
    path = Path(path)
    if path.suffix.lower() not in {".png", ".svg"}:
        raise EcadError(f"figures are written as .png or .svg, not as {path.name!r}")
    # An SVG has no date and no random identifiers in it: the same figure is the same file.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
    with rc_context({"svg.hashsalt": "ecad"}):
        write_beside(path, lambda beside: figure.savefig(beside, dpi=150, metadata=metadata))
