"""Claims are what the definitions say, on data of which the truth is known."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd
import pytest
from ecad_dsl.analysis import claims, pareto
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.indicators.hv import HV

from ecad_dsl import EcadError
from ecad_dsl.language import Program
from ecad_dsl.models import load_spec
from ecad_dsl.quality.bootstrap import RESAMPLES, Array, resamples
from ecad_dsl.quality.measure import Entry, Measured
from ecad_dsl.schedule import compile

EVERYTHING = compile(Program(()), load_spec("reference"), 2)
PROMPTS = 4


def measured(name: str, macs: int, rewards: Array, family: str = "ours", group: str = "evolved") -> Measured:
    return Measured(Entry(name, group, EVERYTHING, family), macs, np.asarray(rewards, float))


numbers = st.integers(-8, 8).map(float)
points = st.lists(
    st.tuples(st.integers(1, 20), st.lists(numbers, min_size=PROMPTS, max_size=PROMPTS)), min_size=1, max_size=6
)


def family(pairs: list[tuple[int, list[float]]]) -> list[Measured]:
    return [measured(f"s{index}", macs, np.array(rewards)) for index, (macs, rewards) in enumerate(pairs)]


@given(points)
def test_a_curve_goes_through_its_schedules(pairs: list[tuple[int, list[float]]]) -> None:
    curve = claims.Curve.through(family(pairs))
    for cost in {macs for macs, _ in pairs}:
        mean = np.mean([rewards for macs, rewards in pairs if macs == cost], axis=0)
        np.testing.assert_allclose(curve.at_cost(cost), mean)
    assert curve.at_cost(curve.costs[0] - 1) is None
    np.testing.assert_array_equal(curve.at_cost(curve.costs[-1] + 5), curve.values[-1])


@given(points, st.floats(0, 1))
def test_between_neighbours_lies_their_mixture(pairs: list[tuple[int, list[float]]], share: float) -> None:
    curve = claims.Curve.through(family(pairs))
    for index in range(len(curve.costs) - 1):
        cost = (1 - share) * curve.costs[index] + share * curve.costs[index + 1]
        mixture = (1 - share) * curve.values[index] + share * curve.values[index + 1]
        np.testing.assert_allclose(curve.at_cost(cost), mixture, atol=1e-9)


@given(points, st.integers(-32, 32).map(lambda quarter: quarter / 4))
def test_the_least_cost_of_a_quality_is_what_a_fine_search_finds(
    pairs: list[tuple[int, list[float]]], quality: float
) -> None:
    curve = claims.Curve.through(family(pairs))
    least = float(curve.least_cost(np.array([quality]))[0])
    grid = np.unique(np.concatenate([np.linspace(curve.costs[0], curve.costs[-1], 400), curve.costs]))
    reaching = [cost for cost in grid if curve.at_cost(cost).mean() >= quality - 1e-9]  # type: ignore[union-attr]
    if not reaching:
        assert least == inf
    else:
        assert least <= reaching[0] + 1e-6
        assert curve.at_cost(least + 1e-9).mean() >= quality - 1e-6  # type: ignore[union-attr]


@settings(max_examples=25)
@given(points)
def test_a_family_gains_nothing_over_itself(pairs: list[tuple[int, list[float]]]) -> None:
    distinct = family(list({macs: (macs, rewards) for macs, rewards in pairs}.values()))
    plain = measured("none", 20, np.zeros(PROMPTS), "no cache", "none")
    table = claims.claims([*distinct, plain], distinct).iloc[:-1]
    assert (table["gain"].abs() < 1e-9).all()
    assert (table["wins"] == 0.5).all()
    assert (table["saved"] >= -1e-6).all()
    assert (table["saved_low"] >= -1e-6).all()


@settings(max_examples=40)
@given(points)
def test_what_beats_a_schedule_is_what_brute_force_finds(pairs: list[tuple[int, list[float]]]) -> None:
    table = claims.dominated(family(pairs))
    means = [(macs, float(np.mean(rewards))) for macs, rewards in pairs]
    for (macs, reward), line in zip(means, table.itertuples(), strict=True):
        beating = [
            f"s{i}" for i, (m, r) in enumerate(means) if (m <= macs and r > reward) or (m < macs and r >= reward)
        ]
        assert line.dominated_by == ", ".join(beating)
        assert set(line.surely.split(", ")) - {""} <= set(beating)
    free = set(table.loc[table["dominated_by"] == "", "macs"])
    assert free == set(pareto.front(claims.means(family(pairs)))["macs"])


@given(points, st.integers(-9, 9))
def test_hypervolumes_agree_with_pymoo_in_every_resample(pairs: list[tuple[int, list[float]]], worst: int) -> None:
    costs = np.array([macs for macs, _ in pairs], float)
    values = np.array([rewards for _, rewards in pairs]).T  # each prompt as a resample of its own
    for found, rewards in zip(claims.areas(costs, values, 15.0, worst), values, strict=True):
        theirs = HV(ref_point=np.array([15.0, -worst]))(np.column_stack([costs, -rewards]))
        assert found == pytest.approx(theirs)


def test_hypervolumes_say_their_reference_point() -> None:
    table = claims.hypervolumes(
        [
            measured("none", 100, np.full(PROMPTS, 1.0), "no cache", "none"),
            measured("bad", 50, np.full(PROMPTS, 0.25), "rival", "baseline"),
            measured("good", 50, np.full(PROMPTS, 0.75)),
        ]
    ).set_index("family")
    assert set(table["worst_reward"]) == {0.25}
    assert table.loc["ours", "hypervolume"] == pytest.approx(0.5 * 0.5)
    assert table.loc["rival", "hypervolume"] == table.loc["no cache", "hypervolume"] == 0
    assert table.loc["ours", "low"] == table.loc["ours", "high"] == pytest.approx(0.25)


@given(points)
def test_two_schedules_share_the_wins(pairs: list[tuple[int, list[float]]]) -> None:
    table = claims.wins(family(pairs))
    np.testing.assert_allclose(table + table.T.to_numpy(), 1)


def test_the_gain_over_a_family_is_the_area_between_the_curves() -> None:
    ours = [measured("a", 20, np.full(3, 2.0)), measured("b", 60, np.full(3, 4.0))]
    theirs = [measured(f"r{m}", m, np.full(3, r), "rival", "baseline") for m, r in ((10, 0.0), (30, 2.0), (50, 1.0))]
    plain = measured("none", 100, np.zeros(3), "no cache", "none")
    (line,) = claims.over_costs([*ours, *theirs, plain], ours).query("family == 'rival'").to_dict("records")
    # Theirs rises from 1 to 2 between 20 and 30; the worse one of 50 is not on their front. Ours from 2 to 2.5.
    assert (line["from_share"], line["to_share"], line["schedules"]) == (0.2, 0.3, 3)
    assert line["gain"] == pytest.approx(((2 - 1) + (2.5 - 2)) / 2)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Both kinds, where ours is truly 0.2 better, and truly as good at 60 for 100."""
    random = np.random.default_rng(1)
    held = {"gain": 0, "saved": 0}
    for _ in range(80):
        common = random.normal(0, 1, 64)

        def seen(true: float, common: Array = common) -> Array:
            return true + common + random.normal(0, 0.3, 64)

        ours = [measured("a", 50, seen(0.0)), measured("b", 100, seen(1.0))]
        plain = measured("none", 100, seen(0.8), "no cache", "none")
        line = claims.claims([plain], ours).iloc[0]
        held["gain"] += line["gain_low"] <= 0.2 <= line["gain_high"]
        held["saved"] += line["saved_low"] <= 0.1 <= line["saved_high"]
    assert all(0.86 <= count / 80 <= 1 for count in held.values()), held
    assert all(count < 80 for count in held.values()), held


def test_the_sentence_is_what_the_row_says() -> None:
    rewards = np.linspace(-1, 1, 256)
    ours = [measured("a", 20, rewards), measured("b", 60, rewards + 0.4)]
    plain = measured("none", 100, rewards + 0.5, "no cache", "none")
    rival = measured("fora-3", 40, rewards + 0.08, "FORA", "baseline")
    cheap = measured("tiny", 10, rewards, "FORA", "baseline")
    sentences = [claims.claim(line) for _, line in claims.claims([plain, rival, cheap], ours).iterrows()]
    on = "reward on 256 held-out prompts"
    dearest = f"evolved: at 60.0% of the MACs, -0.100 [-0.100, -0.100] {on} against none (100.0%)"
    equal = f"evolved: at the cost of fora-3 (40.0% of the MACs), +0.120 [+0.120, +0.120] {on}"
    assert sentences == [
        f"{dearest}; its reward is not reached at any cost",
        f"{equal}; its reward with 30.0% [30.0%, 30.0%] of its MACs saved",
        "evolved: nothing costs as little as tiny (10.0% of the MACs)",
    ]
    good = measured("fora-3", 40, rewards + 0.3, "FORA", "baseline")
    assert claims.claim(claims.claims([plain, good], ours).iloc[1]).endswith(
        "its reward costs 25.0% [25.0%, 25.0%] more MACs than it takes"
    )
    noisy = measured("fora-3", 40, rewards[::-1] + 0.2, "FORA", "baseline")
    assert "not beyond doubt" in claims.claim(claims.claims([plain, noisy], ours).iloc[1])


def test_a_row_says_of_what_ours_is_made_and_what_one_schedule_alone_gains() -> None:
    rewards = np.zeros(4)
    ours = [measured("a", 20, rewards + 1), measured("b", 60, rewards + 3)]
    rivals = [measured(f"r{macs}", macs, rewards, "rival", "baseline") for macs in (10, 20, 50, 70)]
    table = claims.claims([measured("none", 100, rewards, "no cache", "none"), *rivals], ours).set_index("rival")
    assert list(table.loc[["r10", "r20", "r50", "r70"], "mixture"]) == ["", "a", "25% a, 75% b", "b"]
    assert list(table.loc[["r10", "r20", "r50", "r70"], "single"]) == ["", "a", "a", "b"]
    assert list(table.loc[["r20", "r50", "r70"], "single_gain"]) == [1, 1, 3]
    assert np.isnan(table.loc["r10", "single_gain"])


def test_runs_are_put_together() -> None:
    table = pd.DataFrame(
        {"rival": "fora-3", "ours": ["a", "b", "c"], "macs_share": 0.35, "gain": [0.1, -0.2, 0.4],
         "gain_low": [-0.1, -0.3, 0.2]}
    )  # fmt: skip
    (line,) = claims.over_runs(table).to_dict("records")
    assert (line["runs"], line["ahead"], line["surely"], line["worst"], line["best"]) == (3, 2, 1, -0.2, 0.4)
    assert line["gain"] == pytest.approx(0.1)


def test_shares_need_the_cost_of_no_cache() -> None:
    with pytest.raises(EcadError, match="without a cache"):
        claims.claims([measured("a", 1, np.zeros(2))], [measured("a", 1, np.zeros(2))])


def test_means_of_resamples_are_those_of_the_prompts_chosen() -> None:
    values = np.random.default_rng(0).normal(size=(3, 7))
    chosen = resamples(7)
    assert chosen.shape == (RESAMPLES, 7)
    np.testing.assert_allclose(claims._resampled(values, chosen), values[:, chosen].mean(2).T)
