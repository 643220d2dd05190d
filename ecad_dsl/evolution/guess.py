"""A Gaussian process that learns from few measurements what a number depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

LENGTH = 1.5
"""Over how far numbers are alike before anything is known, as a multiple of the median distance."""
NOISE = 0.01
"""Likewise: the share of the variance that features do not explain."""
FIRM = 0.3
"""How firmly weights are held near what they begin with: the precision of their logarithms."""
REACH = 6.0
"""How far at most their logarithms are away from that, so that covariances can be inverted."""
FITTED = 400
"""Weights are learned from at most so many measurements."""
ITERATIONS = 25
"""Of learning them."""
TINY = 1e-12
"""Keeps a logarithm finite where all that was measured is the same."""


@dataclass(frozen=True)
class Guess:
    """Mean and deviation of a number where it has not been measured."""

    scales: Array
    """What the features of each group are multiplied by, [groups]."""
    noise: float
    mean: float
    deviation: float
    """Of what was measured."""
    doubt: float
    """The process's deviation where nothing is known, in deviations of what was measured."""
    known: Array
    """Scaled features, [measured, features]."""
    factor: Array
    """The lower Cholesky factor of their covariance, [measured, measured]."""
    solved: Array
    """Its inverse times what was measured, [measured]."""

    def __call__(self, asked: Sequence[Array]) -> tuple[Array, Array]:
        """Means and deviations, [asked] each, from features, [asked, features] a group."""
        across = _alike(_squared(_scaled(asked, self.scales), self.known))
        explained = solve_triangular(self.factor, across.T, lower=True)
        variance = np.maximum(1e-6, 1 + self.noise - np.square(explained).sum(0))
        means: Array = self.mean + self.deviation * (across @ self.solved)
        deviations: Array = self.deviation * self.doubt * np.sqrt(variance)
        return means, deviations


def learned(known: Sequence[Array], values: Array) -> Guess:
    """From features, [measured, features] a group, and what was measured, [measured]; the latest of it last.

    How much a group counts, and how much noise there is, is what makes the measurements most likely: the marginal
    likelihood of Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), 5.4.1.
    """
    mean, deviation = float(values.mean()), float(values.std()) or 1.0
    told = (values - mean) / deviation
    some = _some(len(told))
    logs = _most_likely(np.stack([_squared(group[some], group[some]) for group in known]), told[some])
    scales, noise = np.exp(logs[:-1] / 2), float(np.exp(logs[-1]))
    scaled = _scaled(known, scales)
    factor = cholesky(_alike(_squared(scaled, scaled)) + noise * np.eye(len(told)), lower=True)
    solved = cho_solve((factor, True), told)
    return Guess(scales, noise, mean, deviation, float(np.sqrt(told @ solved / len(told))), scaled, factor, solved)


def _scaled(groups: Sequence[Array], scales: Array) -> Array:
    return np.concatenate([scale * group for scale, group in zip(scales, groups, strict=True)], 1)


def _alike(squared: Array) -> Array:
    """Covariances at these squared distances."""
    covariance: Array = 1 / np.sqrt(1 + 2 * squared)
    return covariance


def _some(count: int) -> NDArray[np.intp]:
    """Which of so many measurements weights are learned from: the latest ones, and as many of those before."""
    latest = np.arange(max(0, count - FITTED // 2), count)
    before = np.unique(np.linspace(0, max(0, count - FITTED // 2 - 1), FITTED // 2).round().astype(int))
    return np.union1d(before, latest)


def _most_likely(squared: Array, told: Array) -> Array:
    """Logarithms of each group's weight and, last, of the noise, under which ``told`` [measured] is most likely.

    ``squared``: distances by group, [groups, measured, measured].
    """
    together = squared.sum(0)
    median = float(np.median(together[together > 0])) if (together > 0).any() else 1.0
    start = np.log(np.append(np.full(len(squared), 1 / (LENGTH**2 * median)), NOISE))
    firm = np.append(np.full(len(squared), FIRM), 1.0)

    def unlikely(logs: Array) -> tuple[float, Array]:
        weights, own_noise = np.exp(logs[:-1]), float(np.exp(logs[-1]))
        alike = _alike(np.tensordot(weights, squared, 1))
        factor = cholesky(alike + own_noise * np.eye(len(told)), lower=True)
        solved = cho_solve((factor, True), told)
        variance = told @ solved / len(told) + TINY
        value = 0.5 * len(told) * np.log(variance) + np.log(np.diag(factor)).sum()
        # Half the derivative by each entry of the covariance.
        by_entry = (cho_solve((factor, True), np.eye(len(told))) - np.outer(solved, solved) / variance) / 2
        by_weight = -np.tensordot(squared, by_entry * alike**3, ([1, 2], [0, 1])) * weights
        gradient = np.append(by_weight, own_noise * np.trace(by_entry))
        away = logs - start
        return float(value + (firm * away**2).sum() / 2), gradient + firm * away

    bounds = np.stack([start - REACH, start + REACH], 1)
    found = minimize(unlikely, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS})
    # Rounded, so that no last digit in which two machines may differ grows from here.
    logs: Array = found.x.round(3)
    return logs


def _squared(one: Array, other: Array) -> Array:
    """Squared distances of rows, [rows of one, rows of the other]."""
    sums = np.square(one).sum(1)[:, None] + np.square(other).sum(1)
    squared: Array = np.maximum(0.0, sums - 2 * one @ other.T)
    return squared
