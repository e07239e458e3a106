"""Intervals of means, shares and differences, where rows of one document or one text belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ftlit.errors import UserError
from ftlit.insight.shares import newcombe, wilson
from ftlit.metrics.evidence.intervals import resamples, weighted_sums
from ftlit.metrics.evidence.scores import Sums, ratio

Ends = tuple[float, float]
Clusters = Sequence[Any] | np.ndarray  # the document or text that each value is about
UNKNOWN = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
        count: Number of values.
    """

    value: float
    low: float
    high: float
    count: int


def mean(values: Any, clusters: Clusters, level: float) -> Estimate:
    """The mean of values with an interval by Student's t over clusters.

    If all values are the same, the interval is as wide as the share of other ones can be that shows none (Clopper and Pearson,
    1934), as if a value could be off by 1.

    Args:
        values: The values, ``(n,)``.
        clusters: The document or text that each value is about.
        level: The chance that the interval is wrong.
    """
    x = np.asarray(values, dtype=float)
    if not len(x):
        return Estimate(float("nan"), *UNKNOWN, 0)
    spread, count = _spread(x, np.ones_like(x), clusters)
    unseen = 1 - (level / 2) ** (1 / count)
    half = float("nan") if count < 2 else _t(level, count - 1) * spread or unseen
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def share(hits: Any, clusters: Clusters, level: float, units: Any = None) -> Estimate:
    """A share with Wilson's interval (1927) for as many independent values as are worth these (Korn and Graubard, 1998).

    Args:
        hits: Whether each value is a hit, ``(n,)``; or the number of hits among its units.
        clusters: The document or text that each value is about.
        level: The chance that the interval is wrong.
        units: Number of units of each value; by default 1.
    """
    x = np.asarray(hits, dtype=float)
    w = np.ones_like(x) if units is None else np.asarray(units, dtype=float)
    if not w.sum():
        return Estimate(float("nan"), *UNKNOWN, 0)
    p, independent = float(x.sum() / w.sum()), independent_values(x, w, clusters)
    low, high = wilson(p, independent, level)
    return Estimate(p, float(low), float(high), len(x))


def independent_values(hits: np.ndarray, units: np.ndarray, clusters: Clusters) -> float:
    """The number of independent values that would tell a share as exactly as these."""
    p = hits.sum() / units.sum()
    spread, count = _spread(hits, units, clusters)
    if p * (1 - p) <= 0 or count < 2 or not spread:
        return float(count)
    return float(min(max(p * (1 - p) / spread**2, 1.0), units.sum()))


def difference(one: Estimate, other: Estimate) -> Ends:
    """The interval of the share `one` minus the share `other`."""
    low, high = newcombe(one.value, (one.low, one.high), other.value, (other.low, other.high))
    return float(low), float(high)


@dataclass(frozen=True)
class Resampled:
    """A metric in groups of examples, and in resamples of the documents.

    Attributes:
        values: The metric in each group, ``(groups,)``.
        drawn: The metric in resamples, ``(draws, groups)``.
    """

    values: np.ndarray
    drawn: np.ndarray


def resampled(sums: Sums, members: Sequence[np.ndarray], documents: np.ndarray, count: int) -> Resampled:
    """Compute a metric in groups of examples, and again in resamples of the documents, which are the same for all groups.

    Args:
        sums: What the examples add to the metric.
        members: The examples of each group as a mask, ``(examples,)``.
        documents: Number of the document of each example.
        count: Number of documents.
    """
    counts = sums.counts[0]
    totals = [weighted_sums(counts * mask[:, None], documents, count) for mask in members]
    blocks = [np.stack([np.asarray(sums.score(total(w))) for total in totals], -1) for w in resamples(count)]
    values = np.array([float(sums.score(counts[mask].sum(0))) for mask in members])
    return Resampled(values, np.concatenate(blocks))


def normal_ends(value: float, drawn: np.ndarray, level: float) -> Ends:
    """The ends of a normal interval around a value, with the deviation of its resamples."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < max(2, len(drawn) / 2) or not np.isfinite(value):
        return UNKNOWN
    half = NormalDist().inv_cdf(1 - level / 2) * float(known.std(ddof=1))
    return (value - half, value + half) if half else UNKNOWN


def _spread(x: np.ndarray, units: np.ndarray, clusters: Clusters) -> tuple[float, int]:
    """The standard error of a ratio of sums over clusters, and the number of clusters."""
    if isinstance(clusters, np.ndarray):
        numbers = np.unique(clusters, return_inverse=True)[1]
    else:
        places = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
        numbers = np.array([places[name] for name in clusters])
    count = int(numbers.max()) + 1
    if count < 2:
        return float("nan"), count
    residuals = np.bincount(numbers, x - ratio(x.sum(), units.sum()) * units, count)
    return float(np.sqrt((residuals**2).sum() * count / (count - 1)) / units.sum()), count


def _t(level: float, degrees: int) -> float:
    try:
        from scipy.stats import t
    except ImportError as error:
        raise UserError("ftlit audit needs SciPy; install it with: pip install -e '.[insight]'") from error
    return float(t.ppf(1 - level / 2, degrees))
