"""Figures of frames: each takes a DataFrame and returns the axes it has drawn on. ``save`` writes them.

They share one style. Colours (Okabe and Ito's) are told apart by colour-blind readers, and never say anything alone:
groups differ in their markers too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_beside

INK = "#1f2933"
FAINT = "#7b8794"
RECOMPUTE = "#d1495b"
NEITHER, BOTH, ONLY_A, ONLY_B = "#e9ecef", "#b4bcc8", "#0072b2", "#e69f00"
"""Colours of cells. Blue and orange, and all four by their brightness, are told apart by colour-blind readers too."""
COLOURS = {"none": "#000000", "fewer steps": "#7f7f7f", "baseline": "#0072b2", "evolved": "#d55e00"}
MARKERS = {"none": "*", "fewer steps": "s", "baseline": "o", "evolved": "D"}
_MORE = (("#009e73", "^"), ("#cc79a7", "v"), ("#56b4e9", "P"), ("#e69f00", "X"))
"""For groups of other names."""

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "errorbar.capsize": 0.0,
    "text.parse_math": False,  # names and captions are anybody's: a dollar sign is one
}
FORMATS = (".png", ".svg", ".pdf")

_MOST_BESIDE = 60
"""Up to so many steps, the components of a stack are drawn side by side."""
_LEVELS = 10
"""Shares between 0 and 1 are rounded to so many shades."""
Cells: TypeAlias = npt.NDArray[np.uint8]
P = ParamSpec("P")
T = TypeVar("T")


def _styled(draw: Callable[P, T]) -> Callable[P, T]:
    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def save(axes: Axes | Sequence[Axes], path: Path) -> None:
    """Write the figure that axes belong to as .png, .svg or .pdf, by the path's suffix.

    Raises:
        EcadError: another suffix; or the file cannot be written.
    """
    first = axes if isinstance(axes, Axes) else axes[0]
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise EcadError(f"figures are written as .png, .svg or .pdf, not as {path.name!r}")
    # Vector files have no date and no random identifiers in them: the same figure is the same file.
    metadata = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    with rc_context({"svg.hashsalt": "ecad"}):
        write_beside(path, lambda beside: _figure(first).savefig(beside, dpi=150, metadata=metadata))


def _axes(axes: Axes | None, width: float, height: float) -> Axes:
    return Figure(figsize=(width, height), layout="constrained").subplots() if axes is None else axes


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _mark(group: str, groups: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a group."""
    if group in COLOURS:
        return COLOURS[group], MARKERS[group]
    others = [name for name in groups if name not in COLOURS]
    return _MORE[others.index(group) % len(_MORE)]


# Heat maps. Their frames have a row for each cell: step, stack, component, block, and what is shown.


def heat_map(cells: pd.DataFrame, title: str = "") -> list[Axes]:
    """A panel for each component of each stack: steps to the right, blocks downwards, coloured = recompute.

    ``cells`` has the columns step, stack, component, block, recompute; ``recompute`` is a boolean, or the share of
    several schedules that recompute the cell, which shades tell apart.
    """
    recompute = cells["recompute"].astype(float)
    if set(recompute) <= {0.0, 1.0}:
        note = f"{int(recompute.sum()):,} of {len(cells):,} cells recomputed ({recompute.mean():.1%})"
        legend = {"reuse": NEITHER, "recompute": RECOMPUTE}
        return _cell_panels(cells.assign(value=recompute), legend, f"{title}: {note}" if title else note)
    shades = {f"{level / _LEVELS:.0%}": _mixed(level / _LEVELS) for level in range(_LEVELS + 1)}
    note = "share of schedules that recompute a cell"
    values = cells.assign(value=(_LEVELS * recompute).round())
    return _cell_panels(values, shades, f"{title}: {note}" if title else note)


def difference_map(cells: pd.DataFrame, title: str = "") -> list[Axes]:
    """Panels as in :func:`heat_map`: which cells only one of two schedules recomputes.

    ``cells`` has the boolean columns ``a`` and ``b`` in place of ``recompute``.
    """
    only_a, only_b = (cells["a"] & ~cells["b"]).sum(), (cells["b"] & ~cells["a"]).sum()
    note = f"{only_a:,} cells recomputed in A alone, {only_b:,} in B alone"
    legend = {"both reuse": NEITHER, "only A recomputes": ONLY_A, "only B recomputes": ONLY_B, "both recompute": BOTH}
    values = cells.assign(value=cells["a"] + 2 * cells["b"])
    return _cell_panels(values, legend, f"{title}: {note}" if title else note)


def _mixed(share: float) -> str:
    one, other = np.array(to_rgb(NEITHER)), np.array(to_rgb(RECOMPUTE))
    return str(to_hex(tuple(one + share * (other - one))))


@rc_context({"text.parse_math": False})
def _cell_panels(cells: pd.DataFrame, legend: Mapping[str, str], heading: str) -> list[Axes]:
    """A panel for each component. The column ``value`` counts the colours of the legend from 0."""
    steps = cells["step"].max() + 1
    stacks = {
        str(stack): {
            str(component): part.pivot(index="block", columns="step", values="value").to_numpy(np.uint8)
            for component, part in of_stack.groupby("component", sort=False, observed=True)
        }
        for stack, of_stack in cells.groupby("stack", sort=False, observed=True)
    }
    # Side by side, panels of many steps would be too wide for any screen.
    columns = max(map(len, stacks.values())) if steps <= _MOST_BESIDE else 1
    rows = [
        panels[start : start + columns]
        for stack, parts in stacks.items()
        for panels in [[(stack, name, values) for name, values in parts.items()]]
        for start in range(0, len(panels), columns)
    ]
    heights = [max(1.6, 0.13 * len(row[0][2])) for row in rows]
    width = max(2.4, 0.13 * steps) if columns > 1 else 13.0
    figure = Figure(
        figsize=(1.2 + columns * width, 1.6 + sum(height + 0.3 for height in heights)), layout="constrained"
    )
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    drawn: list[Axes] = []
    for row, line in zip(rows, grid, strict=True):
        for place, axis in enumerate(line):
            if place >= len(row):
                axis.set_visible(False)
                continue
            stack, name, values = row[place]
            _draw_cells(axis, values, list(legend.values()))
            axis.set_title(f"{stack}: {name}", fontsize=9, color=INK)
            axis.set_ylabel("block" if place == 0 else "", fontsize=8)
            axis.set_xlabel("denoising step" if stack == list(stacks)[-1] or columns == 1 else "", fontsize=8)
            drawn.append(axis)
    figure.suptitle(heading, fontsize=10, color=INK)
    swatches = [Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=label) for label, colour in legend.items()]
    figure.legend(handles=swatches, loc="outside lower center", ncols=len(swatches), frameon=False, fontsize=8)
    return drawn


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


# Fronts. Their table is one of ``compare.table``: a row for each schedule.


@_styled
def pareto(table: pd.DataFrame, title: str = "", axes: Axes | None = None) -> Axes:
    """Mean reward against the share of the MACs, with 95 % intervals; evolved schedules joined by a line."""
    axes = _axes(axes, 8.5, 5.5)
    share = 100 * table["macs_share"]
    groups = [str(group) for group in table["group"].unique()]
    for group in groups:
        lines = table[table["group"] == group].sort_values("macs")
        colour, marker = _mark(group, groups)
        spread = np.array([lines["reward"] - lines["reward_low"], lines["reward_high"] - lines["reward"]])
        axes.errorbar(
            share[lines.index], lines["reward"], yerr=spread, fmt=marker, color=colour, ecolor=colour,
            elinewidth=0.7, alpha=0.9, markersize=10 if group == "none" else 5, label=group,
        )  # fmt: skip
        if group == "evolved":
            # All of them, not the best of them on these prompts: that would be choosing on held-out prompts.
            axes.plot(share[lines.index], lines["reward"], color=colour)
    # Schedules that spoil everything would squeeze those that anybody would use into one line.
    hand_made = table[table["group"] != "evolved"]
    if len(hand_made):
        floor = float(hand_made["reward_low"].min())
        axes.set_ylim(bottom=floor - 0.1 * (float(table["reward_high"].max()) - floor))
    axes.set(xlabel="MACs, % of recomputing everything", ylabel="mean reward (95 % interval)", title=title)
    axes.legend(loc="lower right")
    _name_points(axes, hand_made.assign(x=100 * hand_made["macs_share"], y=hand_made["reward"]), groups)
    return axes


@_styled
def latency(table: pd.DataFrame, title: str = "", axes: Axes | None = None) -> Axes:
    """Measured time of an image against the share of the MACs; the line is where time goes by MACs alone.

    Intervals are those of the speed-up.

    Raises:
        EcadError: the table has no times.
    """
    timed = table[table["ms_per_image"].notna()]
    if timed.empty:
        raise EcadError("nothing in this table was timed; measure it with at least one round of timing")
    axes = _axes(axes, 7.5, 5.0)
    share, groups = 100 * timed["macs_share"], [str(group) for group in timed["group"].unique()]
    # In pairs with the plain pipeline: what its time would be, were the machine as fast as when each was measured.
    whole = float((timed["ms_per_image"] * timed["speedup"]).median())
    axes.plot([0, 100], [0, whole], color=FAINT, linestyle="--", label="in proportion to MACs")
    for group in groups:
        lines = timed[timed["group"] == group]
        colour, marker = _mark(group, groups)
        time = whole / lines["speedup"]
        spread = np.array([time - whole / lines["speedup_high"], whole / lines["speedup_low"] - time]).clip(0)
        axes.errorbar(
            share[lines.index], time, yerr=spread, fmt=marker, color=colour, ecolor=colour,
            elinewidth=0.7, markersize=10 if group == "none" else 5, label=group,
        )  # fmt: skip
    axes.set(xlabel="MACs, % of recomputing everything", ylabel="time of an image, ms (95 % interval)", title=title)
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend(loc="upper left")
    named = timed[timed["group"] != "evolved"]
    _name_points(axes, named.assign(x=100 * named["macs_share"], y=whole / named["speedup"]), groups)
    return axes


def _name_points(axes: Axes, points: pd.DataFrame, groups: Sequence[str]) -> None:
    """Names beside points (columns name, group, x, y), where they cover neither each other nor a point."""
    size = 7.0
    _figure(axes).draw_without_rendering()  # lays out, so that places are known
    to_points = 72 / _figure(axes).dpi
    places = axes.transData.transform(points[["x", "y"]]) * to_points
    taken = [(left - 4, bottom - 4, left + 4, bottom + 4) for left, bottom in places]
    for point, (left, bottom) in zip(points.itertuples(), places, strict=True):
        wide = 0.55 * size * len(str(point.name))
        offsets = [(6, -10), (6, 4), (-6 - wide, 4), (-6 - wide, -10), (6, -20), (6, 14), (-6 - wide, 14)]
        boxes = [(left + dx, bottom + dy, left + dx + wide, bottom + dy + size) for dx, dy in offsets]
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = int(np.argmin(covered))
        taken.append(boxes[best])
        colour, _ = _mark(str(point.group), groups)
        axes.annotate(
            str(point.name), (point.x, point.y), offsets[best],
            textcoords="offset points", fontsize=size, color=colour,
        )  # fmt: skip


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Area that two boxes (left, bottom, right, top) have in common."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


# Searches.


@_styled
def convergence(generations: pd.DataFrame, title: str = "", axes: Axes | None = None) -> Axes:
    """Hypervolume of the front after each generation: a line a seed, their median, and the band between the extremes.

    ``generations`` has the columns generation and hypervolume, and seed where there are several runs.
    """
    axes = _axes(axes, 7.0, 4.0)
    seeds = generations["seed"] if "seed" in generations else pd.Series(0, generations.index)
    runs = generations.assign(seed=seeds).pivot(index="generation", columns="seed", values="hypervolume")
    colour = COLOURS["evolved"]
    if runs.shape[1] > 1:
        axes.fill_between(
            runs.index, runs.min(axis=1), runs.max(axis=1), color=colour, alpha=0.15, linewidth=0,
            label=f"range of {runs.shape[1]} seeds",
        )  # fmt: skip
        axes.plot(runs.index, runs.to_numpy(), color=colour, linewidth=0.6, alpha=0.6)
        axes.plot(runs.index, runs.median(axis=1), color=colour, linewidth=2, label="median")
        axes.legend(loc="lower right")
    else:
        axes.plot(runs.index, runs.iloc[:, 0], color=colour, marker=MARKERS["evolved"], markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="generation", ylabel="hypervolume of the front", title=title)
    return axes


@_styled
def lineage(candidates: pd.DataFrame, key: str, title: str = "", axes: Axes | None = None) -> Axes:
    """The ancestors of a candidate: generations to the right, cost upwards, an edge from each parent to its child.

    The line of first parents stands out, with the edits on it. ``candidates`` has the columns key, generation, edit,
    parents (a sequence of keys, the first one first) and macs.

    Raises:
        EcadError: no candidate has this key.
    """
    columns = (candidates[name].tolist() for name in ("key", "generation", "macs", "edit", "parents"))
    known = {str(k): (int(g), float(m) / 1e9, str(e), tuple(p)) for k, g, m, e, p in zip(*columns, strict=True)}
    if key not in known:
        raise EcadError(f"no candidate has the key {key}")
    axes = _axes(axes, 8.5, 5.0)
    parents = {k: [parent for parent in facts[3] if parent in known] for k, facts in known.items()}
    family, main = _ancestors(parents, key)
    for child in family:
        for parent in parents[child]:
            first = child in main and parent == parents[child][0]
            (x0, y0), (x1, y1) = known[parent][:2], known[child][:2]
            axes.plot(
                [x0, x1], [y0, y1], color=COLOURS["evolved"] if first else "#b4bcc8",
                linewidth=2 if first else 0.8, zorder=3 if first else 1,
            )  # fmt: skip
    others = [ancestor for ancestor in family if ancestor not in main]
    for keys, marker, size, colour, label in (
        (others, "o", 18, "#9aa5b1", "ancestors by crossover"),
        (main, "D", 30, COLOURS["evolved"], "line of first parents"),
    ):
        places = np.array([known[k][:2] for k in keys]).reshape(-1, 2)
        axes.scatter(places[:, 0], places[:, 1], color=colour, marker=marker, s=size, zorder=4, label=label)
    for place, ancestor in enumerate(main):
        x, y, edit, _ = known[ancestor]
        down = place % 2 == 0
        axes.annotate(
            fill(edit, 22), (x, y), (0, -9 if down else 9), textcoords="offset points", fontsize=6.5,
            ha="center", va="top" if down else "bottom", color=INK, zorder=5,
        )  # fmt: skip
    axes.margins(x=0.12, y=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="generation", ylabel="GMACs of an image", title=title)
    axes.legend(loc="best", fontsize=8)
    return axes


def _ancestors(parents: Mapping[str, Sequence[str]], key: str) -> tuple[list[str], list[str]]:
    """All ancestors of a candidate with itself; and those on the line of first parents, the oldest first."""
    family, waiting = [key], [key]
    while waiting:
        for parent in parents[waiting.pop()]:
            if parent not in family:
                family.append(parent)
                waiting.append(parent)
    main = [key]
    while parents[main[0]] and parents[main[0]][0] not in main:
        main.insert(0, parents[main[0]][0])
    return family, main


# Pictures.


@_styled
def picture_grid(pictures: pd.DataFrame, uncached: str | None = None) -> list[Axes]:
    """A row of pictures for each schedule, a column for each caption.

    ``pictures`` has the columns schedule, caption and picture, an array [3, height, width] in [0, 1]. Where
    ``uncached`` names a schedule, each other row is followed by one of its absolute differences to that one's pictures,
    the mean over the colours, all on one scale.
    """
    table = pictures.pivot(index="schedule", columns="caption", values="picture")
    table = table.reindex(index=pictures["schedule"].unique(), columns=pictures["caption"].unique())
    rows: list[tuple[str, list[npt.NDArray[Any]], bool]] = []
    for name, line in table.iterrows():
        shown = [np.asarray(picture) for picture in line]
        rows.append((str(name), shown, False))
        if uncached is not None and name != uncached:
            plain = [np.asarray(picture) for picture in table.loc[uncached]]
            rows.append(("difference", [np.abs(a - b).mean(0) for a, b in zip(shown, plain, strict=True)], True))
    most = max((float(part.max()) for _, parts, differs in rows if differs for part in parts), default=1.0) or 1.0
    columns = len(table.columns)
    figure = Figure(figsize=(1.1 + 1.25 * columns, 0.6 + 1.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, parts, differs), line in zip(rows, axes, strict=True):
        for part, axis in zip(parts, line, strict=True):
            if differs:
                axis.imshow(part, cmap="magma", vmin=0, vmax=most, interpolation="nearest")
            else:
                axis.imshow(part.transpose(1, 2, 0), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)
        colour = FAINT if differs else INK
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=colour)
    for caption, axis in zip(table.columns, axes[0], strict=True):
        axis.set_title(fill(str(caption), 18), fontsize=6.5, loc="center")
    if uncached is not None and len(rows) > 1:
        scale = ScalarMappable(Normalize(0, most), colormaps["magma"])
        bar = figure.colorbar(scale, ax=list(axes.flat), shrink=0.4, aspect=30)
        bar.set_label("absolute difference to uncached, of 1", fontsize=7)
        bar.ax.tick_params(labelsize=6)
    return list(axes.flat)
