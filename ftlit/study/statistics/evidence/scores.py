"""Metrics as functions of sums over examples: counts of right and wrong, squares and products."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ftlit.study.statistics.resampling import Score

Kind = Literal["precision", "recall", "f1"]
Weights = Literal["present", "true", "support", "equal"]
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
KINDS: dict[str, Kind] = {"precision": "precision", "recall": "recall", "f1": "f1"}


@dataclass(frozen=True)
class Sums:
    """What examples add to sums, and the metric that follows from these.

    Attributes:
        counts: What each example adds in each run, ``(runs, examples, k)``.
        score: The metric of sums ``(..., k)``, without the last axis.
    """

    counts: np.ndarray
    score: Score


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the divisor is 0."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast_shapes(np.shape(top), np.shape(bottom))), where=bottom != 0)


def mean_of(values: Any, weights: Any = None) -> Sums:
    """A metric that is a mean over examples.

    Args:
        values: Of each example, ``(runs, examples)``; those of an example with several units are summed.
        weights: Units of each example; by default 1.
    """
    values = np.asarray(values, dtype=float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=float)
    return Sums(np.stack([values, weights], -1), mean_score)


def mean_score(sums: np.ndarray) -> np.ndarray:
    """First sum by second."""
    return ratio(sums[..., 0], sums[..., 1])


def root_mean(sums: np.ndarray) -> np.ndarray:
    """The root of the mean."""
    return np.sqrt(mean_score(sums))


def exp_mean(sums: np.ndarray) -> np.ndarray:
    """``exp`` of the mean, no higher than a perplexity is logged."""
    return np.exp(np.minimum(mean_score(sums), 88.0))


def classes(parts: Parts, kind: Kind, weights: Weights) -> Sums:
    """Precision, recall or F1, averaged over classes.

    Args:
        parts: How often an example has each class rightly, has it wrongly, and misses it, ``(runs, examples, classes)`` each.
        kind: Which score.
        weights: How much a class counts: `present` 1 where it is right or predicted anywhere, `true` 1 where it is right
            somewhere, `support` as often as it is right, `equal` always 1.
    """
    counts = np.concatenate(parts, -1).astype(float)
    return Sums(counts, partial(average_score, kind=kind, weights=weights))


def pooled(parts: Parts, kind: Kind) -> Sums:
    """The same over all classes together, which is called micro."""
    hits, false, missed = (part.sum(-1, keepdims=True) for part in parts)
    return classes((hits, false, missed), kind, "equal")


def average_score(sums: np.ndarray, kind: Kind, weights: Weights) -> np.ndarray:
    """The score of sums ``(..., 3 classes)``: hits, false ones and missed ones. What would be 0 / 0 is 0."""
    hits, false, missed = np.split(sums, 3, axis=-1)
    divisor = {"precision": hits + false, "recall": hits + missed, "f1": hits + (false + missed) / 2}[kind]
    weight = {
        "present": (hits + false + missed > 0).astype(float),
        "true": (hits + missed > 0).astype(float),
        "support": hits + missed,
        "equal": np.ones_like(hits),
    }[weights]
    return ratio((ratio(hits, divisor) * weight).sum(-1), weight.sum(-1))


def matthews(sums: np.ndarray) -> np.ndarray:
    """Matthews' correlation of sums ``(..., 3 classes)`` as in `average_score` (Gorodkin, 2004).

    Of two classes of which only one is predicted or only one is true it would be 0 / 0, and is what torchmetrics gives: 1
    where all are right, -1 where none is, and else the limit that it computes.
    """
    hits, false, missed = np.split(sums, 3, axis=-1)
    said, true = hits + false, hits + missed
    right, total = hits.sum(-1), true.sum(-1)
    spread = (total**2 - (said**2).sum(-1)) * (total**2 - (true**2).sum(-1))
    usual = ratio(right * total - (said * true).sum(-1), np.sqrt(np.maximum(spread, 0)))
    if hits.shape[-1] != 2:
        return usual
    wrong = total - right
    limit = np.where(wrong * right == 0, np.sign(right - wrong), ratio(right - wrong, np.sqrt(right * wrong * total)))
    return np.where(spread > 0, usual, limit)


def correlation(one: np.ndarray, other: np.ndarray, center: float) -> Sums:
    """Pearson's correlation; with numbers that are all the same there is none.

    Args:
        one: A number of each example, ``(runs, examples)``.
        other: Another number.
        center: Taken from both first, as sums of squares of large numbers lose digits; the correlation does not change.
    """
    x, y = one - center, other - center
    return Sums(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1), pearson)


def pearson(sums: np.ndarray) -> np.ndarray:
    """The correlation of sums ``(..., 6)``: examples, both numbers, both squares, and the product."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    varied = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)  # below is rounding
    found = ratio(n * xy - x * y, np.sqrt(np.where(varied, spread_x * spread_y, 0.0)))
    return np.where(varied, np.clip(found, -1, 1), np.nan)
