"""Figures: what is drawn is what the frame says, with a name and a unit on every axis."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ecad_dsl.analysis import figures, frames
from hypothesis import given, settings
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ecad_dsl import EcadError
from ecad_dsl.language import Program
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, parse
from tests.strategies import programs_for

SPEC = load_spec("reference")
FLUX = load_spec("flux.1-dev")


def compared() -> pd.DataFrame:
    """A table like ``compare.table`` makes."""
    lines = [
        ("none", "none", 1000, 0.91, 1.0),
        ("fora-2", "baseline", 500, 0.88, 1.7),
        ("fora-3", "baseline", 350, 0.84, 2.2),
        ("7 steps", "fewer steps", 350, 0.76, 2.8),
        ("macs-35.0-4d9b", "evolved", 350, 0.86, 2.4),
        ("macs-41.0-7ad8", "evolved", 410, 0.87, 2.0),
    ]
    table = pd.DataFrame(lines, columns=["name", "group", "macs", "reward", "speedup"])
    return table.assign(
        macs_share=table["macs"] / 1000,
        reward_low=table["reward"] - 0.05,
        reward_high=table["reward"] + 0.04,
        speedup_low=0.9 * table["speedup"],
        speedup_high=1.1 * table["speedup"],
        ms_per_image=18 / table["speedup"],
    )


def drawn_points(axes: Axes) -> set[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    return {(round(float(x), 6), round(float(y), 6)) for line in lines for x, y in zip(*line.get_data(), strict=True)}


def assert_named(axes: Axes, *units: str) -> None:
    """Both axes have a name, and these words are in them."""
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert all(unit in axes.get_xlabel() + axes.get_ylabel() for unit in units)


def test_a_front_shows_every_schedule_where_it_was_measured() -> None:
    table = compared()
    axes = figures.pareto(table, "Front")
    expected = zip(100 * table["macs_share"], table["reward"], strict=True)
    assert drawn_points(axes) == {(round(x, 6), round(y, 6)) for x, y in expected}
    assert {text.get_text() for text in axes.texts} == {"none", "fora-2", "fora-3", "7 steps"}
    assert_named(axes, "%", "reward", "95 % interval")


def test_times_stand_beside_what_the_macs_promise() -> None:
    axes = figures.latency(compared())
    promise = axes.lines[0]
    np.testing.assert_allclose(promise.get_data(), [[0, 100], [0, 18]])
    assert (50.0, round(18 / 1.7, 6)) in drawn_points(axes)
    assert_named(axes, "ms", "%")
    with pytest.raises(EcadError, match="at least one round"):
        figures.latency(compared().assign(ms_per_image=np.nan))


def test_seeds_make_a_median_and_a_band() -> None:
    runs = {0: [1.0, 2.0, 4.0], 1: [2.0, 3.0, 3.0], 2: [0.0, 5.0, 6.0]}
    table = pd.DataFrame(
        [(seed, g, value) for seed, values in runs.items() for g, value in enumerate(values)],
        columns=["seed", "generation", "hypervolume"],
    )
    axes = figures.convergence(table)
    (median,) = (line for line in axes.lines if line.get_label() == "median")
    assert list(median.get_ydata()) == [1, 3, 4]
    outline = axes.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in outline} >= {(0, 0), (0, 2), (1, 2), (1, 5), (2, 3), (2, 6)}
    assert_named(axes, "generation", "hypervolume")
    alone = figures.convergence(table[table["seed"] == 1].drop(columns="seed"))
    assert list(alone.lines[0].get_ydata()) == [2, 3, 3]


def test_a_lineage_joins_children_with_their_parents() -> None:
    candidates = pd.DataFrame(
        [
            ("a", 0, "fora-2", (), 5e9),
            ("b", 0, "fora-3", (), 4e9),
            ("c", 1, "NudgeRange", ("a",), 3e9),
            ("d", 2, "Splice", ("c", "b"), 2e9),
            ("e", 2, "unrelated", ("b",), 1e9),
        ],
        columns=["key", "generation", "edit", "parents", "macs"],
    )
    axes = figures.lineage(candidates, "d")
    edges = {tuple(map(tuple, np.transpose(line.get_data()))) for line in axes.lines}
    assert edges == {((0, 5), (1, 3)), ((1, 3), (2, 2)), ((0, 4), (2, 2))}
    points = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert sorted(len(np.asarray(c.get_offsets())) for c in points) == [1, 3]
    assert [text.get_text() for text in axes.texts] == ["fora-2", "NudgeRange", "Splice"]
    assert_named(axes, "generation", "GMACs")
    with pytest.raises(EcadError, match="no candidate"):
        figures.lineage(candidates, "z")


def test_differences_are_to_the_uncached_pictures_of_the_same_caption() -> None:
    plain, spoilt = np.full((3, 2, 2), 0.5), np.full((3, 2, 2), 0.5)
    spoilt[:, 0, 1] = 0.25
    pictures = pd.DataFrame(
        [("no cache", "one", plain), ("no cache", "two", plain), ("fora", "one", spoilt), ("fora", "two", plain)],
        columns=["schedule", "caption", "picture"],
    )
    shown = [np.asarray(axes.images[0].get_array()) for axes in figures.picture_grid(pictures, "no cache")]
    assert len(shown) == 6
    np.testing.assert_array_equal(shown[2], spoilt.transpose(1, 2, 0))
    np.testing.assert_array_equal(shown[4], [[0, 0.25], [0, 0]])
    np.testing.assert_array_equal(shown[5], np.zeros((2, 2)))
    assert len(figures.picture_grid(pictures)) == 4


@settings(max_examples=15, deadline=None)
@given(programs_for(FLUX, 20))
def test_cells_of_a_frame_are_those_of_the_masks(program: Program) -> None:
    schedule = compile(program, FLUX, 20)
    frame = frames.cells(schedule)
    for row in frame.sample(50, random_state=0).itertuples():
        stack = next(stack for stack in FLUX.stacks if stack.name == row.stack)
        index = [component.name for component in stack.components].index(row.component)
        assert row.recompute == schedule.to_numpy()[row.stack][row.step, row.block, index]
    assert frame["recompute"].sum() == schedule.recomputed
    assert len(frame) == 20 * FLUX.cells


def test_a_heat_map_has_a_panel_for_each_component_and_shades_for_shares() -> None:
    cells = frames.cells(compile(parse("cache all every 2 steps"), FLUX, 20))
    axes = figures.heat_map(cells)
    assert [a.get_title() for a in axes] == [f"{s.name}: {c.name}" for s in FLUX.stacks for c in s.components]
    assert axes[0].get_ylabel() == "block"
    assert axes[-1].get_xlabel() == "denoising step"
    half = figures.heat_map(cells.assign(recompute=np.where(cells["recompute"], 1.0, 0.5)))
    legend = half[0].get_figure(root=True).legends[0]
    assert [text.get_text() for text in legend.get_texts()][::5] == ["0%", "50%", "100%"]


def test_a_difference_says_who_recomputes() -> None:
    one, other = (compile(parse(f"cache all every {n} steps"), SPEC, 6) for n in (2, 3))
    frame = frames.difference_cells(one, other)
    by_step = frame.groupby("step")[["a", "b"]].first()
    assert list(by_step["a"]) == [True, False, True, False, True, False]
    assert list(by_step["b"]) == [True, False, False, True, False, False]
    heading = figures.difference_map(frame)[0].get_figure(root=True).get_suptitle()
    assert heading == "48 cells recomputed in A alone, 24 in B alone"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_is_the_same_file(tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        figures.save(figures.pareto(compared(), "Front"), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_figure_is_drawn_on_axes_at_hand() -> None:
    axes = Figure().subplots(1, 2)
    assert figures.pareto(compared(), axes=axes[0]) is axes[0]
    assert figures.convergence(pd.DataFrame({"generation": [0], "hypervolume": [1.0]}), axes=axes[1]) is axes[1]


def test_groups_differ_in_markers_and_in_brightness_or_hue() -> None:
    assert len(set(figures.MARKERS.values())) == len(figures.MARKERS)
    colours = [np.array(to_rgb(colour)) for colour in figures.COLOURS.values()]
    # As seen without red cones, after Machado and others (2009).
    seen = [_PROTANOPIA @ colour for colour in colours]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[i + 1 :]]
    assert min(apart) > 0.25


_PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def test_a_dollar_sign_is_no_formula(tmp_path: Path) -> None:
    name = r"$\nope{$"
    table = compared().replace({"name": {"fora-2": name}})
    cells = frames.cells(compile(parse("cache all every 3 steps"), SPEC, 6))
    pictures = pd.DataFrame({"schedule": [name], "caption": ["$5 or $6"], "picture": [np.zeros((3, 4, 4))]})
    drawn = [
        figures.pareto(table, name),
        figures.latency(table, name),
        figures.heat_map(cells, name)[0],
        figures.picture_grid(pictures)[0],
    ]
    for number, axes in enumerate(drawn):
        figures.save(axes, tmp_path / f"{number}.svg")
