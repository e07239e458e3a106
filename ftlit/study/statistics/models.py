"""Tests that compare two trained models on the same examples."""

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from ftlit.study.statistics.runs import MAX_BLOCK_SIZE, Evidence

Key = TypeVar("Key", bound=Hashable)


def swaps(examples: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of ``(draws, examples)`` of 0 and 1: the examples or clusters whose predictions two models swap."""
    rng = np.random.default_rng(seed)
    for size in _blocks(examples, draws):
        yield rng.integers(2, size=(size, examples)).astype(float)


def _blocks(examples: int, draws: int) -> Iterator[int]:
    size = max(1, MAX_BLOCK_SIZE // max(examples, 1))
    for start in range(0, draws, size):
        yield min(size, draws - start)


def shuffled_differences(pairs: Mapping[Key, tuple[Evidence, Evidence]], draws: int, seed: int) -> dict[Key, np.ndarray]:
    """The difference of two arms that swap predictions of random examples, ``(draws,)`` per pair."""
    parts: dict[Key, list[np.ndarray]] = {key: [] for key in pairs}
    for units in {one.units.shape[1] for one, _ in pairs.values()}:
        for swapped in swaps(units, draws, seed):
            for key, (one, other) in pairs.items():
                if one.units.shape[1] == units:
                    taken = _weighted(swapped, one.units - other.units)
                    first = one.score(other.units.sum(axis=1) + taken)
                    second = other.score(one.units.sum(axis=1) - taken)
                    parts[key].append((first - second).mean(axis=-1))
    return {key: np.concatenate(blocks) for key, blocks in parts.items()}


def _weighted(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over weighted examples, ``(draws, seeds, k)``, by one matrix product for all seeds."""
    seeds, examples, k = counts.shape
    return (weights @ np.moveaxis(counts, 0, 1).reshape(examples, seeds * k).astype(float)).reshape(-1, seeds, k)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """The p-value of McNemar's exact test that two models are right equally often.

    Args:
        right_a: Whether the first model is right, ``(examples,)``.
        right_b: Whether the second model is right, ``(examples,)``.
    """
    from scipy.special import bdtr

    one, other = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    only_a, only_b = int((one & ~other).sum()), int((other & ~one).sum())
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def approximate_randomisation(a: Evidence, b: Evidence, draws: int = 10_000, seed: int = 0) -> float:
    """The p-value of the approximate randomisation test that two models do not differ (Noreen 1989).

    The models swap their predictions on random examples, and the difference is computed again.
    """
    return randomisation_p(float((a.scores - b.scores).mean()), shuffled_differences({0: (a, b)}, draws, seed)[0])


def randomisation_p(difference: float, shuffled: np.ndarray) -> float:
    """The p-value of a difference: how often a difference after random swaps is at least as large.

    The smallest p-value that n swaps allow is 1 / (n + 1), which is too large for many comparisons. If fewer than ten
    differences are as large, the tail of a normal distribution with their spread is used instead.
    """
    from scipy.special import ndtr

    shuffled = abs(shuffled[np.isfinite(shuffled)])
    if not np.isfinite(difference) or not shuffled.any():
        return 1.0
    count = int((shuffled >= abs(difference) * (1 - 1e-9)).sum())
    if count >= 10:
        return (count + 1) / (len(shuffled) + 1)
    return 2 * float(ndtr(-abs(difference) / np.sqrt((shuffled**2).mean())))
