"""The distribution of the error of means and differences whose variances are uncertain."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BINS = 64  # of possible variances of a mean or a difference
PAIRS = 200  # in a block
MANY = 300  # units of the sample of examples, with which their part of the variance is known well enough


@dataclass(frozen=True, eq=False)
class Errors:
    """Mixtures of normal distributions around zero.

    With the variances of an inverse chi-squared distribution, such a mixture is Student's t.

    Attributes:
        variances: Possible variances of each mean, ``(means, parts)``.
        weights: Their probabilities, ``(means, parts)``; NaN if nothing is known.
    """

    variances: np.ndarray
    weights: np.ndarray

    @cached_property
    def error(self) -> np.ndarray:
        """The standard error of each mean, ``(means,)``: the root of its median variance."""
        middle = (np.cumsum(self.weights, axis=1) < 0.5).sum(axis=1)
        found = np.take_along_axis(self.variances, np.minimum(middle, self.variances.shape[1] - 1)[:, None], axis=1)
        return np.where(np.isfinite(self.weights).all(axis=1), np.sqrt(found[:, 0]), np.nan)

    def above(self, distance: np.ndarray) -> np.ndarray:
        """The probability that an error is larger than a distance, ``(means,)``."""
        from scipy.special import ndtr

        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num(distance[:, None] / np.sqrt(self.variances))
        return (self.weights * ndtr(-ratio)).sum(axis=1)

    def p_value(self, distance: np.ndarray) -> np.ndarray:
        """The two-sided p-values of means at `distance` from the null hypothesis; 1 if unknown, or without any variance."""
        known = np.isfinite(self.weights).all(axis=1) & np.isfinite(distance) & (distance != 0) & (self.error > 0)
        return np.where(known, np.minimum(2 * self.above(np.where(known, abs(distance), 0.0)), 1.0), 1.0)

    def reach(self, level: float | np.ndarray) -> np.ndarray:
        """Half the width of confidence intervals, ``(means,)``; NaN if unknown.

        Args:
            level: One minus the confidence level, one for each mean or the same for all.
        """
        largest = np.sqrt(np.nan_to_num(self.variances).max(axis=1))
        found = root(lambda x: level / 2 - self.above(x), 0 * largest, 10 * largest)
        return np.where(np.isfinite(self.weights).all(axis=1), found, np.nan)


def root(rising: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The zeros of increasing functions, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        below = rising(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def sum_of(grid: np.ndarray, one: np.ndarray, other: np.ndarray, sizes: np.ndarray, fixed: np.ndarray, units: int) -> Errors:
    """The errors of differences, to which the seeds of two arms and the common examples contribute.

    Args:
        grid: Possible variances over seeds, ``(grid,)``.
        one: Their probabilities for the first arms, ``(pairs, grid)``.
        other: Those for the second arms.
        sizes: Number of seeds of the first and of the second arms, ``(2, pairs)``; infinite for an arm that adds nothing.
        fixed: The variances that examples contribute, ``(pairs,)``.
        units: Number of sampled units from which these were estimated.
    """
    parts = [
        _binned(grid, one[i : i + PAIRS], other[i : i + PAIRS], sizes[:, i : i + PAIRS], fixed[i : i + PAIRS], units)
        for i in range(0, len(one), PAIRS)
    ]
    variances, weights = (np.concatenate(found) for found in zip(*parts, strict=True))
    return Errors(variances, weights)


def _binned(
    grid: np.ndarray, one: np.ndarray, other: np.ndarray, sizes: np.ndarray, fixed: np.ndarray, units: int
) -> tuple[np.ndarray, np.ndarray]:
    factors, chances = estimated_variance(units)
    seeds = (grid[:, None] / sizes[0][:, None, None] + grid[None, :] / sizes[1][:, None, None])[..., None]
    total = (seeds + fixed[:, None, None, None] * factors).reshape(len(one), -1)
    weights = (one[:, :, None, None] * other[:, None, :, None] * chances).reshape(len(one), -1)
    log = np.log(np.maximum(total, 1e-300))
    low, high = log.min(axis=1, keepdims=True), log.max(axis=1, keepdims=True)
    places = np.minimum(((log - low) / np.maximum(high - low, 1e-12) * BINS).astype(int), BINS - 1)
    flat = (places + BINS * np.arange(len(one))[:, None]).ravel()
    sums, values = (np.bincount(flat, x.ravel(), BINS * len(one)).reshape(-1, BINS) for x in (weights, weights * total))
    return np.divide(values, sums, out=np.zeros_like(sums), where=sums > 0), sums


def estimated_variance(units: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors by which a variance may be wrong that was estimated from so many units, and their probabilities."""
    if units > MANY or units < 2:
        return np.ones(1), np.ones(1)
    from scipy.special import chdtri

    chances = np.full(12, 1 / 12)
    return (units - 1) / chdtri(units - 1, (np.arange(12) + 0.5) / 12), chances
