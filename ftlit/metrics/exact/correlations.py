"""Correlation coefficients of whole evaluations, in double precision. Without PyTorch, so that studies can use them."""

import numpy as np


def matthews(right: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Matthews' correlation for any number of classes (Gorodkin, 2004), ``(...)``.

    As in scikit-learn, it is 0 if it is undefined: if there is only one class among the predictions or among the labels.

    Args:
        right: Number of right predictions of each class, ``(..., classes)``.
        predicted: Number of predictions of each class.
        true: Number of examples of each class.
    """
    right, predicted, true = (np.asarray(counts, dtype=float) for counts in (right, predicted, true))
    total = true.sum(-1)
    spread = (total**2 - (predicted**2).sum(-1)) * (total**2 - (true**2).sum(-1))
    together = right.sum(-1) * total - (predicted * true).sum(-1)
    return np.divide(together, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(together), where=spread > 0)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two columns of numbers; NaN if one of them is constant, as in SciPy."""
    x, y = centered(x), centered(y)
    spread = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / spread, -1, 1)) if spread > 0 else float("nan")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of two columns of numbers; NaN if one of them is constant."""
    return pearson(ranks(x), ranks(y))


def centered(values: np.ndarray) -> np.ndarray:
    """Numbers minus their mean, in a unit in which none is above 1; exactly 0 if all are equal, ``(..., examples)``."""
    values = np.asarray(values, dtype=float)
    first = values[..., :1]
    if not values.size or not np.isfinite(values).all():
        return np.full_like(values, np.nan)
    found = values - first  # exact for numbers close to each other; the mean of equal numbers may be off by a rounding error
    found -= found.mean(-1, keepdims=True)
    constant = (values == first).all(-1, keepdims=True)
    largest = abs(found).max(-1, keepdims=True)
    return np.where(constant, 0.0, found / np.where(constant, 1.0, largest))


def ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of numbers, from 1; equal numbers get the mean of their ranks, ``(examples,)``."""
    _, places, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
