"""Intervals of shares, and of differences of shares."""

from statistics import NormalDist
from typing import Any

import numpy as np

Limits = tuple[np.ndarray, np.ndarray]


def wilson(share: Any, count: Any, level: float = 0.05) -> Limits:
    """The ends of intervals of shares (Wilson, 1927); NaN for shares of nothing.

    Args:
        share: The shares, of any shape.
        count: Number of independent values behind each.
        level: One minus the confidence level.
    """
    z = NormalDist().inv_cdf(1 - level / 2)
    share, count = np.asarray(share, dtype=float), np.asarray(count, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (share + z * z / (2 * count)) / (1 + z * z / count)
        half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def newcombe(one: Any, limits: Any, other: Any, other_limits: Any) -> Limits:
    """The ends of intervals of `one` minus `other` (Newcombe, 1998, method 10).

    Args:
        one: The first shares.
        limits: The ends of their intervals.
        other: The second shares.
        other_limits: The ends of their intervals.
    """
    (low, high), (low_other, high_other) = limits, other_limits
    difference = np.asarray(one) - other
    down, up = np.hypot(one - low, high_other - other), np.hypot(high - one, other - low_other)
    return difference - down, difference + up
