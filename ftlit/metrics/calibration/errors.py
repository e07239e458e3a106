"""The expected calibration error, with the part removed that chance adds, and what stands in a reliability diagram.

The decisions are sorted by their probabilities and cut into bins of equal size (Nguyen and O'Connor, 2015). The error is the
mean distance between the mean probability of a bin and the share that came true (Naeini et al., 2015). Even a calibrated model
has some, since the share of a few decisions varies: with a true distance d and a standard error s, the observed distance is on
average that of a folded normal distribution. Its excess over d is subtracted, where d is the root mean square of all true
distances, which the estimator of Kumar et al. (2019) gives without bias: the squares of the observed ones less those of s.
"""

import math
from typing import NamedTuple

import numpy as np

from ftlit.metrics.calibration.decisions import Stated

MOST_BINS, LEAST = 15, 10  # bins, and decisions in one
_erf = np.vectorize(math.erf, otypes=[float])


class Bins(NamedTuple):
    """Bins of decisions with similar probabilities.

    Attributes:
        place: The bin of each decision, ``(decisions,)``.
        number: How many bins there are.
    """

    place: np.ndarray
    number: int


class Reliability(NamedTuple):
    """A reliability diagram.

    Attributes:
        stated: Mean probability of each bin.
        true: Share of its decisions that came true.
        size: Number of its decisions.
    """

    stated: np.ndarray
    true: np.ndarray
    size: np.ndarray


def bins_of(probability: np.ndarray) -> Bins:
    """At most 15 bins of equal size, of ten decisions at least."""
    count = len(probability)
    number = min(MOST_BINS, max(1, count // LEAST))
    place = np.empty(count, dtype=int)
    place[np.argsort(probability, kind="stable")] = np.arange(count) * number // max(count, 1)
    return Bins(place, number)


def reliability(stated: Stated) -> Reliability:
    """The reliability diagram of decisions."""
    bins = bins_of(stated.probability)
    count = np.bincount(bins.place, minlength=bins.number)
    sums = (np.bincount(bins.place, values, bins.number) for values in (stated.probability, stated.true))
    mean, share = (total / np.maximum(count, 1) for total in sums)
    return Reliability(mean, share, count)


def calibration_errors(count: np.ndarray, stated: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The expected calibration error without and with the part that chance adds, ``(...)`` each.

    The first may be below 0 where chance added less than it does on average.

    Args:
        count: Number of decisions in each bin, ``(..., bins)``.
        stated: Sums of their probabilities.
        true: How many came true.
    """
    size = np.maximum(count, 1)
    share, rate = count / np.maximum(count.sum(-1, keepdims=True), 1), true / size
    distance = np.abs(stated / size - rate)
    error = np.sqrt(rate * (1 - rate) / np.maximum(count - 1, 1))
    plain = (share * distance).sum(-1)
    square = (share * (distance**2 - error**2)).sum(-1, keepdims=True)
    return plain - (share * chance(np.sqrt(np.maximum(square, 0)), error)).sum(-1), plain


def chance(distance: np.ndarray, error: np.ndarray) -> np.ndarray:
    """What a standard error adds on average to a true distance that is observed with it."""
    distance, error = np.broadcast_arrays(distance, error)
    ratio = np.divide(distance, error, out=np.zeros_like(error), where=error > 0)
    folded = error * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + distance * _erf(ratio / math.sqrt(2))
    return np.where(error > 0, folded - distance, 0.0)
