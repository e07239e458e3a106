"""Metrics as functions of sums over examples, such as counts of right predictions, squares and products."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ftlit.metrics.exact.correlations import centered, matthews

Score = Callable[[np.ndarray], np.ndarray]
ClassScore = Literal["precision", "recall", "f1"]
ClassAveraging = Literal["present", "true", "support", "equal"]
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
CLASS_SCORES: dict[str, ClassScore] = {"precision": "precision", "recall": "recall", "f1": "f1"}


@dataclass(frozen=True)
class Sums:
    """What examples add to sums, and the metric as a function of these sums.

    Attributes:
        counts: What each example adds in each run, ``(runs, examples, k)``.
        score: Computes the metric from sums: ``(..., k)`` to ``(...)``.
    """

    counts: np.ndarray
    score: Score

    @property
    def is_share(self) -> bool:
        """Whether the metric is a mean of numbers from 0 to 1, such as the share of right answers."""
        tops, units = self.counts[..., 0], self.counts[..., -1]
        return self.score is mean_score and bool(((tops >= 0) & (tops <= units)).all())


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The quotient; 0 if the divisor is 0."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast_shapes(np.shape(top), np.shape(bottom))), where=bottom != 0)


def mean_of(values: Any, weights: Any = None) -> Sums:
    """A metric that is a mean over examples.

    Args:
        values: Value of each example, ``(runs, examples)``; a sum for examples with several units.
        weights: Number of units of each example; by default 1.
    """
    values = np.asarray(values, dtype=float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=float)
    return Sums(np.stack([values, weights], -1), mean_score)


def mean_score(sums: np.ndarray) -> np.ndarray:
    """The first sum divided by the second."""
    return ratio(sums[..., 0], sums[..., 1])


def root_mean(sums: np.ndarray) -> np.ndarray:
    """The square root of the mean."""
    return np.sqrt(mean_score(sums))


def exp_mean(sums: np.ndarray) -> np.ndarray:
    """The exponential of the mean, with the same upper bound as the logged perplexity."""
    return np.exp(np.minimum(mean_score(sums), 88.0))


def classes(parts: Parts, kind: ClassScore, weights: ClassAveraging) -> Sums:
    """Precision, recall or F1, averaged over classes.

    Args:
        parts: Hits, false positives and misses of each class in each example, ``(runs, examples, classes)`` each.
        kind: The score.
        weights: Weight of a class: `present` is 1 if it is a label or a prediction anywhere, `true` is 1 if it is a label
            anywhere, `support` is the number of examples with this label, `equal` is always 1.
    """
    counts = np.concatenate(parts, -1).astype(float)
    return Sums(counts, partial(average_score, kind=kind, weights=weights))


def pooled(parts: Parts, kind: ClassScore) -> Sums:
    """The micro average of a score: over all classes together."""
    hits, false, missed = (part.sum(-1, keepdims=True) for part in parts)
    return classes((hits, false, missed), kind, "equal")


def average_score(sums: np.ndarray, kind: ClassScore, weights: ClassAveraging) -> np.ndarray:
    """A score of sums ``(..., 3 classes)`` of hits, false positives and misses; 0 / 0 counts as 0."""
    hits, false, missed = np.split(sums, 3, axis=-1)
    divisor = {"precision": hits + false, "recall": hits + missed, "f1": hits + (false + missed) / 2}[kind]
    weight = {
        "present": (hits + false + missed > 0).astype(float),
        "true": (hits + missed > 0).astype(float),
        "support": hits + missed,
        "equal": np.ones_like(hits),
    }[weights]
    return ratio((ratio(hits, divisor) * weight).sum(-1), weight.sum(-1))


def matthews_score(sums: np.ndarray) -> np.ndarray:
    """Matthews' correlation of sums ``(..., 3 classes)`` as in `average_score`."""
    hits, false, missed = np.split(sums, 3, axis=-1)
    return matthews(hits, hits + false, hits + missed)


def correlation(one: np.ndarray, other: np.ndarray) -> Sums:
    """Pearson's correlation; NaN if either number is constant.

    Args:
        one: The first number of each example, ``(runs, examples)``.
        other: The second number of each example.
    """
    x, y = centered(one), centered(other)  # sums of squares of large numbers lose precision
    return Sums(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1), pearson)


def pearson(sums: np.ndarray) -> np.ndarray:
    """The correlation from sums ``(..., 6)``: number of examples, both numbers, both squares, and the product."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    varied = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)  # smaller spreads are rounding errors
    found = ratio(n * xy - x * y, np.sqrt(np.where(varied, spread_x * spread_y, 0.0)))
    return np.where(varied, np.clip(found, -1, 1), np.nan)
