"""The screen: what it expects, held against what chance gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.indicators.hv import HV

from ecad_dsl.evolution.genome import Space
from ecad_dsl.evolution.guess import learned
from ecad_dsl.evolution.initial import random_population
from ecad_dsl.evolution.screen import Screen, ages, expected_gains, features
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import compile, parse

SPACE = Space(load_spec("reference"), 12)


def test_ages_count_the_steps_since_a_cell_was_recomputed() -> None:
    schedule = compile(parse("cache self every 4 steps\ncache ffn from step 6"), SPACE.spec, 12)
    (aged,) = ages([schedule])
    assert aged[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]
    assert not aged[:, 1].any()
    assert aged[:, 2].tolist() == [0] * 7 + [1, 2, 3, 4, 5]


@pytest.mark.parametrize("model", ["reference", "flux.1-dev"])
def test_what_depends_on_ages_is_guessed_better_than_by_the_mean(model: str) -> None:
    space = Space(load_spec(model), 8)
    schedules = [genome.schedule for genome in random_population(space, 120, np.random.default_rng(0))]
    weights = np.random.default_rng(1).random(space.spec.cells)
    truth = (ages(schedules) * weights).sum((1, 2)) ** 0.5
    guess = learned(features(schedules[:90]), truth[:90])
    means, deviations = guess(features(schedules[90:]))
    assert np.abs(means - truth[90:]).mean() < 0.8 * np.abs(truth[:90].mean() - truth[90:]).mean()
    assert (deviations > 0).all()
    again, _ = guess(features(schedules[:90]))
    assert np.abs(again - truth[:90]).mean() < 0.3 * truth.std()


def test_it_is_learned_which_groups_count() -> None:
    random = np.random.default_rng(0)
    groups = [random.normal(size=(80, 3)) for _ in range(4)]
    truth = np.sin(groups[2]).sum(1)
    guess = learned([group[:60] for group in groups], truth[:60])
    assert guess.scales.argmax() == 2
    assert guess.scales[2] > 3 * np.delete(guess.scales, 2).max()
    means, deviations = guess([group[60:] for group in groups])
    errors = np.abs(means - truth[60:])
    assert errors.mean() < 0.5 * np.abs(truth[60:]).mean()
    assert 0.5 < np.sqrt(np.mean((errors / deviations) ** 2)) < 2


def test_where_all_is_the_same_that_is_guessed() -> None:
    groups = [np.random.default_rng(0).normal(size=(10, 3))]
    means, deviations = learned(groups, np.full(10, 7.0))(groups)
    assert means == pytest.approx(7)
    assert np.isfinite(deviations).all()


def test_what_is_the_same_again_and_again_can_be_learned_from() -> None:
    groups = [np.repeat(np.random.default_rng(seed).normal(size=(4, 3)), 100, axis=0) for seed in range(3)]
    truth = groups[0].sum(1)
    means, _ = learned(groups, truth)(groups)
    assert means == pytest.approx(truth, abs=0.05)


def test_expected_gains_are_the_mean_gains_of_draws() -> None:
    random = np.random.default_rng(0)
    front = np.array([[-30.0, 0.9], [-25.0, 0.5], [-15.0, 0.2], [-40.0, 1.0]])
    means, costs, deviation = np.array([-20.0, -28.0, -12.0]), np.array([0.3, 0.6, 0.1]), 3.0

    def volume(points: np.ndarray) -> float:
        grid = np.linspace(0, 1, 2001)[:-1] + 1 / 4000
        best = [min([q for q, m in points if m <= at] + [-10.0]) for at in grid]
        return float(np.mean([-10.0 - value for value in best]))

    expected = expected_gains(np.stack([means, costs], 1), np.array([[deviation, 0.0]] * 3), front, (-10.0, 1.0))
    for index in range(3):
        draws = np.maximum(-40.0, random.normal(means[index], deviation, 60))
        gains = [volume(np.concatenate([front, [[draw, costs[index]]]])) - volume(front) for draw in draws]
        assert expected[index] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / len(gains) ** 0.5 + 0.01)


def test_with_more_objectives_a_gain_is_expected_of_what_the_front_does_not_dominate() -> None:
    front = np.array([[0.2, 0.5, 0.5], [0.5, 0.2, 0.2]])
    means = np.array([[0.6, 0.6, 0.6], [0.1, 0.6, 0.6]])
    gains = expected_gains(means, np.zeros_like(means), front, (1.0, 1.0, 1.0))
    assert gains[0] == pytest.approx(0)
    assert gains[1] > 0


@given(st.integers(0, 1000))
def test_with_several_objectives_of_any_size_a_gain_is_what_the_hoped_for_adds_to_the_front(seed: int) -> None:
    random = np.random.default_rng(seed)
    scale = np.array([1.0, 4e9, 24.0, 2e6])
    front, means = (np.round(random.random((size, 4)), 1) * scale for size in (6, 9))
    deviations = 0.2 * random.random((9, 4)) * scale * [1, 0, 1, 0]  # two of the four are known
    gains = expected_gains(means, deviations, front, (1.1 * scale).tolist())
    volume = HV(ref_point=np.full(4, 1.1))
    hoped = (means - deviations / 2) / scale
    added = [volume(np.concatenate([front / scale, [one]])) - volume(front / scale) for one in hoped]
    box = (1.1 - np.minimum(means.min(0), front.min(0)) / scale).prod()
    assert gains * box == pytest.approx(added, abs=1e-6)


def test_what_failed_teaches_nothing() -> None:
    genomes = random_population(SPACE, 6, np.random.default_rng(0))
    screen = Screen(lambda genome: (None, SPACE.share(genome.schedule)), (0.0, 1.0))
    screen.learn(genomes, [np.array([1e30, 0.5])] * 6)
    means, deviations = screen(genomes)
    assert (means[:, 0] == 0).all()
    assert not deviations.any()
