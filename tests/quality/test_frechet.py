"""The Frechet distance: beside scipy's root of a matrix, in cases with a formula, and its file."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.frechet import Statistics, frechet_distance


def features(seed: int, count: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, width)) @ random.standard_normal((width, width)) + random.standard_normal(
        width
    )


def by_scipy(one: Statistics, other: Statistics) -> float:
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance).real
    difference = one.mean - other.mean
    return float(difference @ difference + np.trace(one.covariance + other.covariance - 2 * root))


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_the_distance_is_the_one_with_scipys_root(seed: int, width: int) -> None:
    one = Statistics.of(features(seed, 4 * width, width))
    other = Statistics.of(features(seed + 1, 4 * width, width))
    assert frechet_distance(one, other) == pytest.approx(by_scipy(one, other), rel=1e-6, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_diagonal_covariances_give_the_formula_of_single_numbers(seed: int, width: int) -> None:
    random = np.random.default_rng(seed)
    means, deviations = random.standard_normal((2, width)), random.uniform(0, 3, (2, width))
    one, other = (Statistics(m, np.diag(d**2), 9) for m, d in zip(means, deviations, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(one, other) == pytest.approx(expected, abs=1e-9)


def test_fewer_pictures_than_features_are_nothing_special() -> None:
    one, other = (Statistics.of(features(seed, 5, 32)) for seed in (0, 1))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9 * np.trace(one.covariance))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert frechet_distance(one, other) > 0


def test_a_shift_of_all_features_is_its_square() -> None:
    own = features(3, 50, 6)
    assert frechet_distance(Statistics.of(own), Statistics.of(own + 2)) == pytest.approx(4 * 6)


def test_statistics_come_back_from_their_file_and_from_that_of_other_tools(tmp_path: Path) -> None:
    own = Statistics.of(features(4, 20, 5), "network")
    own.save(tmp_path / "own.npz")
    back = Statistics.load(tmp_path / "own.npz")
    assert np.array_equal(back.mean, own.mean)
    assert np.array_equal(back.covariance, own.covariance)
    assert (back.pictures, back.features) == (20, "network")
    np.savez(tmp_path / "other.npz", mu=own.mean, sigma=own.covariance)
    assert frechet_distance(Statistics.load(tmp_path / "other.npz"), own) == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    own = Statistics.of(features(5, 20, 5), "network")
    with pytest.raises(EcadError, match="features of different networks"):
        frechet_distance(own, Statistics(own.mean, own.covariance, 20, "another"))
    with pytest.raises(EcadError, match="of 5 and of 6 features"):
        frechet_distance(own, Statistics.of(features(6, 20, 6)))
    with pytest.raises(EcadError, match="at least 2 pictures"):
        Statistics.of(features(7, 1, 5))
    with pytest.raises(EcadError, match="ecad metrics stats"):
        Statistics.load(tmp_path / "missing.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK no")
    with pytest.raises(EcadError, match="does not hold statistics"):
        Statistics.load(tmp_path / "broken.npz")
