"""Tables, fronts and figures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ecad_dsl.analysis import baselines, compare, figures, frames, pareto
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pymoo.indicators.hv import HV

from ecad_dsl import EcadError
from ecad_dsl.evolution.candidate import Candidate
from ecad_dsl.models import load_spec
from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.quality.measure import Entry, Measured
from ecad_dsl.schedule import compile, parse

SPEC = load_spec("reference")
points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def tabled(pairs: list[tuple[int, int]]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["macs", "reward"])


@given(points)
def test_the_front_is_what_brute_force_finds(pairs: list[tuple[int, int]]) -> None:
    best = {(m, r) for m, r in pairs if not any((m2 <= m and r2 > r) or (m2 < m and r2 >= r) for m2, r2 in pairs)}
    found = pareto.front(tabled(pairs))
    assert list(zip(found["macs"], found["reward"], strict=True)) == sorted(best)


@given(points)
def test_hypervolume_agrees_with_pymoo(pairs: list[tuple[int, int]]) -> None:
    ours = pareto.hypervolume(tabled(pairs), worst_macs=10, worst_reward=-1)
    theirs = HV(ref_point=np.array([10.0, 1.0]))(np.array([(m, -r) for m, r in pairs], dtype=float))
    assert ours == pytest.approx(theirs)


def measured(name: str, rewards: np.ndarray, rule: str = "", seconds: tuple[tuple[float, float], ...] = ()) -> Measured:
    schedule = compile(parse(rule), SPEC, 20)
    return Measured(Entry(name, name, schedule), 100 * schedule.recomputed, rewards, seconds, batch=4)


def test_a_table_pairs_rewards_and_times_with_the_reference() -> None:
    rewards = np.linspace(-1, 1, 50)
    table = compare.table(
        [
            measured("none", rewards, seconds=((2.0, 2.0), (4.0, 4.0), (8.0, 8.0))),
            measured("half", rewards - 0.25, "cache all every 2 steps", seconds=((2.0, 1.0), (4.0, 2.0), (8.0, 2.0))),
        ]
    ).set_index("name")
    assert table.loc["half", "macs_share"] == 0.5
    assert table.loc["half", "macs_speedup"] == 2
    assert tuple(table.loc["half", ["speedup_low", "speedup", "speedup_high"]]) == (2, 2, 4)
    assert table.loc["half", "ms_per_image"] == 500
    # The difference is the same for every prompt, so its interval has no width although the mean's has.
    assert table.loc["half", "change_low"] == pytest.approx(-0.25)
    assert table.loc["half", "change_high"] == pytest.approx(-0.25)
    assert table.loc["half", "reward_high"] - table.loc["half", "reward_low"] > 0.2


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = interval(random.normal(0.3, 1, size=64))
        held += low <= 0.3 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_share_above_counts_resamples() -> None:
    values = np.random.default_rng(0).normal(size=64)
    assert compare.share_above(values + 1, values) == 1
    assert compare.share_above(values, values + 1) == 0


def test_baselines_hold_fora_tgate_and_fewer_steps_and_none_twice() -> None:
    entries = {entry.name: entry for entry in baselines.baselines(SPEC, 20)}
    assert entries["fora-3"].schedule.recomputed == 7 * SPEC.cells
    assert entries["7 steps"].schedule.steps == 7
    assert {"none", "tgate-50", "pab", "fora-6", "10 steps"} <= set(entries)


def test_baselines_without_a_component_to_cache_are_left_out() -> None:
    names = {entry.name for entry in baselines.baselines(load_spec("flux.1-dev"), 20)}
    assert "fora-3" in names
    assert "tgate-50" not in names


def test_the_counts_of_a_heat_map_are_those_of_the_masks() -> None:
    schedule = compile(parse("cache ffn in blocks 2-5 every 3 steps\nreuse cross from step 7"), SPEC, 20)
    assert schedule.counts(SPEC.stacks[0]) == schedule.masks["blocks"].sum(2).T.tolist()


def candidate(reward: float, macs: int, generation: int) -> Candidate:
    values = {"reward": reward, "macs": macs}
    return Candidate(parse(""), compile(parse(""), SPEC, 2), values, 1.0, generation, "test")


def test_a_rival_is_answered_by_the_best_that_was_bred_and_costs_no_more() -> None:
    front = [candidate(0.1, 5, 1), candidate(0.5, 8, 2), candidate(0.7, 9, 0), candidate(0.9, 11, 3)]
    assert compare.match(front, 10) is front[1]
    assert compare.match(front, 4) is None


@pytest.mark.parametrize(
    ("shift", "dominates", "surely"), [(0.5, True, True), (0.02, True, False), (-0.1, False, False)]
)
def test_a_verdict_says_what_was_gained_and_how_surely(shift: float, dominates: bool, surely: bool) -> None:
    noise = np.random.default_rng(0).normal(0, 0.4, size=64)
    rewards = np.linspace(-1, 1, 64)
    rival = measured("rival", rewards, "cache all every 2 steps")
    evolved = measured("evolved", rewards + noise - noise.mean() + shift, "cache all every 3 steps")
    verdict = compare.verdict(rival, evolved)
    assert verdict["gain"] == pytest.approx(shift)
    assert verdict["low"] < shift < verdict["high"]
    assert (verdict["dominates"], verdict["surely"]) == (dominates, surely)
    assert verdict["fewer_macs"] == pytest.approx(0.3)
    assert not compare.verdict(rival, None)["dominates"]


def test_more_reward_for_more_macs_dominates_nothing() -> None:
    rewards = np.linspace(-1, 1, 64)
    rival = measured("rival", rewards, "cache all every 3 steps")
    assert not compare.verdict(rival, measured("evolved", rewards + 1, "cache all every 2 steps"))["dominates"]


@pytest.mark.parametrize("model", ["reference", "flux.1-dev"])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_heat_maps_are_written_whole(tmp_path: Path, model: str, suffix: str) -> None:
    path = tmp_path / f"map{suffix}"
    cells = frames.cells(compile(parse("cache all every 3 steps"), load_spec(model), 20))
    figures.save(figures.heat_map(cells, "FORA 3"), path)
    if suffix == ".png":
        assert len(np.unique(np.asarray(Image.open(path)).reshape(-1, 4), axis=0)) > 10
    else:
        assert path.read_text().rstrip().endswith("</svg>")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_figure_in_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    axes = figures.heat_map(frames.cells(compile(parse(""), SPEC, 2)))
    with pytest.raises(EcadError, match=r"written as \.png, \.svg or \.pdf"):
        figures.save(axes, tmp_path / "map.bmp")
    assert not list(tmp_path.iterdir())
