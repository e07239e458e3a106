"""Intervals that end before the bounds of a metric and are never empty."""

import numpy as np


def wilson(
    means: np.ndarray, reach: np.ndarray, units: np.ndarray, level: float | np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """The ends of intervals of means, ``(2, means)``.

    In the middle of its range, the interval of a metric with bounds is its mean ± `reach`. Near the bounds it is that of Wilson
    (1927) for a share with the same reach, so that it is neither beyond a bound nor of zero width.

    Args:
        means: The means, ``(means,)``.
        reach: Half the widths of symmetric intervals, ``(means,)``.
        units: Number of independent examples behind each, for a mean at a bound.
        level: One minus the confidence level, one for each mean or the same for all.
        bounds: The least and the largest value of the metric, which may be infinite.
    """
    low, high = bounds
    if not np.isfinite(high - low):
        return np.clip(np.stack([means - reach, means + reach]), low, high)
    from scipy.special import ndtri

    z, share = -ndtri(level / 2), np.clip((means - low) / (high - low), 0.0, 1.0)
    spread, width = share * (1 - share), reach / (high - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where((spread > 0) & (width > 0), z**2 * spread / width**2, np.maximum(units, 1))
    middle = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * np.sqrt(spread / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return low + (high - low) * np.stack([middle - half, middle + half])


def of_differences(
    differences: np.ndarray, reach: np.ndarray, one: np.ndarray, other: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """The ends of intervals of differences, ``(2, pairs)``, as skewed as those of both arms.

    Limits of the arms are put together as by Newcombe (1998), and scaled so that an interval is as wide as `reach` says.

    Args:
        differences: The differences, ``(pairs,)``.
        reach: Half the widths of symmetric intervals, ``(pairs,)``.
        one: Distances from the means of the first arms down and up to the ends of their intervals, ``(2, pairs)``.
        other: Those of the second arms.
        bounds: The least and the largest value of the metric.
    """
    down, up = np.hypot(one[0], other[1]), np.hypot(one[1], other[0])
    mean = (down + up) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(mean > 0, np.stack([down, up]) / mean, 1.0)
    width = np.where(reach > 0, reach * skew, np.stack([down, up]))
    span = bounds[1] - bounds[0]
    return np.clip(differences + np.array([[-1.0], [1.0]]) * width, -span, span)
