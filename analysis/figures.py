"""Figures: heat maps of schedules, Pareto plots, grids of pictures. Written as PNG or SVG by the file's suffix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline

from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_beside
from ecad_dsl.schedule import Schedule
from ecad_dsl.schedule.diff import Diff

INK = "#1f2933"
RECOMPUTE = "#d1495b"
NEITHER, BOTH, ONLY_A, ONLY_B = "#e9ecef", "#b4bcc8", "#0072b2", "#e69f00"
"""Colours of cells. Blue and orange, and all four by their brightness, are told apart by colour-blind readers too."""
COLOURS = {"none": "#1f2933", "fewer steps": "#8d99ae", "baseline": "#2e86ab", "evolved": "#d1495b"}
MARKERS = {"none": "*", "fewer steps": "s", "baseline": "o", "evolved": "D"}


_MOST_BESIDE = 60
"""Up to so many steps, the components of a stack are drawn side by side."""
Cells: TypeAlias = npt.NDArray[np.uint8]


def heat_map(schedule: Schedule, path: Path, title: str = "") -> None:
    """A panel for each component of each stack: steps to the right, blocks downwards, coloured = recompute."""
    total = schedule.steps * schedule.spec.cells
    note = f"{schedule.recomputed:,} of {total:,} cells recomputed ({schedule.recomputed / total:.1%})"
    legend = {"reuse": NEITHER, "recompute": RECOMPUTE}
    _cell_panels(schedule, _bits(schedule), legend, _heading(title, schedule, note), path)


def difference_map(diff: Diff, path: Path, a: str = "A", b: str = "B") -> None:
    """Panels as in :func:`heat_map`: which cells only one of two schedules recomputes. ``a`` and ``b`` name them."""
    only_a, only_b = (sum(row.bit_count() for row in rows) for rows in (diff.only_a, diff.only_b))
    note = f"{only_a:,} cells recomputed in A alone, {only_b:,} in B alone"
    theirs = _bits(diff.b)
    values = {stack: mine + 2 * theirs[stack] for stack, mine in _bits(diff.a).items()}
    legend = {"both reuse": NEITHER, "only A recomputes": ONLY_A, "only B recomputes": ONLY_B, "both recompute": BOTH}
    _cell_panels(diff.a, values, legend, _heading(f"A: {a}, B: {b}", diff.a, note), path)


def _bits(schedule: Schedule) -> dict[str, Cells]:
    return {stack: np.asarray(mask).astype(np.uint8) for stack, mask in schedule.masks.items()}


def _heading(title: str, schedule: Schedule, note: str) -> str:
    line = f"{schedule.spec.title}, {schedule.steps} steps: {note}"
    return f"{title}\n{line}" if title else line


def _cell_panels(
    schedule: Schedule, values: Mapping[str, Cells], legend: Mapping[str, str], heading: str, path: Path
) -> None:
    """A panel for each component. ``values`` [steps, blocks, components] count the colours of the legend from 0."""
    spec, steps = schedule.spec, schedule.steps
    # Side by side, panels of many steps would be too wide for any screen.
    columns = max(len(stack.components) for stack in spec.stacks) if steps <= _MOST_BESIDE else 1
    rows = [stack for stack in spec.stacks for _ in range(1 if columns > 1 else len(stack.components))]
    heights = [max(1.6, 0.13 * stack.blocks) for stack in rows]
    width = max(2.4, 0.13 * steps) if columns > 1 else 13.0
    figure = Figure(
        figsize=(1.2 + columns * width, 1.6 + sum(height + 0.3 for height in heights)), layout="constrained"
    )
    axes = list(figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights).flat)
    for stack in spec.stacks:
        for index in range(columns if columns > 1 else len(stack.components)):
            axis = axes.pop(0)
            if index < len(stack.components):
                _draw_cells(axis, values[stack.name][:, :, index].T, list(legend.values()))
                axis.set_title(f"{stack.name}: {stack.components[index].name}", fontsize=9, color=INK)
                axis.set_ylabel("block" if index == 0 or columns == 1 else "", fontsize=8)
                axis.set_xlabel("denoising step" if stack is spec.stacks[-1] or columns == 1 else "", fontsize=8)
            else:
                axis.set_visible(False)
    figure.suptitle(heading, fontsize=10, color=INK)
    swatches = [Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=label) for label, colour in legend.items()]
    figure.legend(handles=swatches, loc="outside lower center", ncols=len(swatches), frameon=False, fontsize=8)
    _save(figure, path)


def _draw_cells(axis: Axes, values: Cells, colours: list[str]) -> None:
    """One panel: ``values`` [blocks, steps], with numbers below the middle of cells, not between them."""
    blocks, steps = values.shape
    axis.set(xlim=(0, steps), ylim=(blocks, 0), facecolor=colours[0])
    # All cells of a colour are one shape, and so are the lines between cells: an SVG stays small.
    for value, colour in enumerate(colours[1:], start=1):
        axis.add_patch(PathPatch(_outline(values == value), facecolor=colour, linewidth=0))
    if steps <= _MOST_BESIDE:  # lines would cover cells as narrow as theirs
        ends = [((x, 0), (x, blocks)) for x in range(1, steps)] + [((0, y), (steps, y)) for y in range(1, blocks)]
        points = [point for start, stop in ends for point in (start, stop, (np.nan, np.nan))]
        axis.plot(*np.reshape(points, (-1, 2)).T, color="white", linewidth=0.4)
    axis.tick_params(labelsize=7)
    for set_ticks, count in ((axis.set_xticks, steps), (axis.set_yticks, blocks)):
        numbers = range(0, count, next((by for by in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count <= 12 * by), 1000))
        set_ticks([number + 0.5 for number in numbers], [str(number) for number in numbers])


def _outline(cells: npt.NDArray[np.bool_]) -> Outline:
    """The outline of some cells [blocks, steps]: a rectangle for each run of blocks at a step."""
    edges = np.diff(np.pad(cells.astype(np.int8).T, ((0, 0), (1, 1))))
    x, top = np.nonzero(edges > 0)
    bottom = np.nonzero(edges < 0)[1]
    corners = np.stack([x, top, x + 1, top, x + 1, bottom, x, bottom, x, top], axis=1).reshape(-1, 2)
    return Outline(corners, [Outline.MOVETO, *3 * [Outline.LINETO], Outline.CLOSEPOLY] * len(x))


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


def _save(figure: Figure, path: Path) -> None:
    path = Path(path)
    if path.suffix.lower() not in {".png", ".svg"}:
        raise EcadError(f"figures are written as .png or .svg, not as {path.name!r}")
    # An SVG has no date and no random identifiers in it: the same figure is the same file.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
    with rc_context({"svg.hashsalt": "ecad"}):
        write_beside(path, lambda beside: figure.savefig(beside, dpi=150, metadata=metadata))
