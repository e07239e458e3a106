"""Compare the pooled states of rows: a classifier two-sample test, the maximum mean discrepancy, and nearest neighbours."""

import numpy as np

from ftlit.insight.drift.permutation import Statistic

WIDTH = 256  # number of principal components that are compared
FOLDS = 5
KERNEL_ROWS = 2000  # of each sample: the kernel takes the square of it
BLOCK = 1024  # rows of a block of distances


def principal_components(states: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """The first principal components of standardised states, ``(rows, at most width)``.

    Args:
        states: The states of all rows, ``(rows, any)``.
        width: Number of components.
    """
    from sklearn.decomposition import PCA

    centred = states - states.mean(0)
    deviations = centred.std(0)
    scaled = centred / np.where(deviations > 0, deviations, 1)
    if not scaled.any():
        return np.zeros((len(states), 2), dtype=np.float32)
    width = min(width, *scaled.shape)
    solver = "full" if width == min(scaled.shape) else "randomized"
    return PCA(width, svd_solver=solver, random_state=0).fit_transform(scaled).astype(np.float32)


def separability(points: np.ndarray, seed: int = 0) -> Statistic:
    """How well a linear classifier tells new rows that it has not seen from reference rows, as AUC; 0.5 is chance.

    This is a classifier two-sample test (Lopez-Paz and Oquab, 2017), cross-fitted. The classifier is Fisher's discriminant with
    the covariance shrunk as by Ledoit and Wolf (2004). It is fitted by least squares, so that one factorisation serves all
    divisions of the rows, and p-values come from classifiers that were fitted anew for each division.

    Args:
        points: The rows, ``(rows, width)``.
        seed: Seed of the folds.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    shrinkage = ledoit_wolf_shrinkage(points) if points.any() else 1.0
    order = np.random.default_rng(seed).permutation(len(points))
    folds = [(np.setdiff1d(order, test), test) for test in np.array_split(order, FOLDS)]
    solved = [(train, test, _directions(points[train], shrinkage), points[test]) for train, test in folds]

    def statistic(new: np.ndarray) -> np.ndarray:
        found = [_wins(held_out @ (solve @ new[:, train].T), new[:, test].T) for train, test, solve, held_out in solved]
        wins, pairs = np.sum(found, 0)
        return wins / np.maximum(pairs, 1)

    return statistic


def _directions(points: np.ndarray, shrinkage: float) -> np.ndarray:
    """The matrix from labels ``(rows,)`` to the direction of the discriminant, ``(width, rows)``."""
    centred = (points - points.mean(0)).astype(np.float64)
    covariance = centred.T @ centred / len(points)
    width = len(covariance)
    mean = max(float(np.trace(covariance)) / width, np.finfo(np.float32).tiny)
    shrunk = (1 - shrinkage) * covariance + max(shrinkage, 1e-6) * mean * np.eye(width)
    return np.linalg.solve(shrunk, centred.T).astype(np.float32)


def _wins(scores: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The number of pairs of a new and a reference row that are ranked rightly, and of all pairs, ``(2, draws)``.

    Args:
        scores: Scores of rows, ``(rows, draws)``.
        new: Which rows are new, ``(rows, draws)``.
    """
    from scipy.stats import rankdata

    count = new.sum(0)
    ranks = (rankdata(scores, axis=0) * new).sum(0)
    return np.stack([ranks - count * (count + 1) / 2, count * (len(new) - count)])


def explained_share(points: np.ndarray) -> Statistic:
    """The share of the spread of the states that the difference between the samples explains; 0 is chance.

    This is the maximum mean discrepancy (Gretton et al., 2012) with a Gaussian kernel whose squared width is the median squared
    distance, divided by the spread in the kernel's space, and corrected for its mean by chance as is R² in regression.

    Args:
        points: The rows, ``(rows, width)``.
    """
    rows, squares = len(points), _squared_distances(points)
    scale = float(np.median(squares[np.triu_indices(rows, 1)])) or 1.0
    kernel = np.exp(-squares / scale)
    spread = max(1 - float(kernel.mean()), np.finfo(np.float32).tiny)

    def statistic(new: np.ndarray) -> np.ndarray:
        count = new.sum(1, keepdims=True)
        weights = np.where(new, 1 / count, -1 / (rows - count)).astype(np.float32)
        discrepancy = ((weights @ kernel) * weights).sum(1)
        explained = (count * (rows - count))[:, 0] / rows**2 * discrepancy / spread
        return 1 - (1 - explained) * (rows - 1) / (rows - 2)

    return statistic


def _squared_distances(points: np.ndarray) -> np.ndarray:
    sizes = (points**2).sum(1)
    return np.maximum(sizes[:, None] + sizes - 2 * points @ points.T, 0)


def nearest(states: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each row to the nearest of other rows, and which one it is, both ``(rows,)``.

    The distance is the root mean square over the width, in standard deviations of the other rows.

    Args:
        states: States of the rows, ``(rows, width)``.
        others: States of the other rows, ``(others, width)``.
    """
    deviations = others.std(0)
    scale = np.where(deviations > 0, deviations, 1) * np.sqrt(states.shape[1])
    targets = ((others - others.mean(0)) / scale).astype(np.float32)
    sizes = (targets**2).sum(1)
    found = []
    for start in range(0, len(states), BLOCK):
        block = ((states[start : start + BLOCK] - others.mean(0)) / scale).astype(np.float32)
        squares = (block**2).sum(1, keepdims=True) + sizes - 2 * block @ targets.T
        found.append((np.sqrt(np.maximum(squares.min(1), 0)), squares.argmin(1)))
    distances, places = (np.concatenate(part) for part in zip(*found, strict=True))
    return distances, places
