"""Metrics on resampled examples, and tests that compare two trained models on the same examples."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]
Key = TypeVar("Key", bound=Hashable)

MAX_BLOCK_SIZE = 4_000_000  # numbers in a block of weights (32 MB)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The predictions of one arm's models, reduced to what a metric needs from each example.

    Attributes:
        counts: What each example adds to the sums of each seed, ``(seeds, examples, k)``. For accuracy these are 1 or 0 for
            right or wrong, and 1; for span F1 true positives, false positives and false negatives.
        score: Computes the metric from sums: ``(..., k)`` to ``(...)``.
        seed_names: The seeds of the runs, by which arms are paired; if empty, they are 0, 1, …
    """

    counts: np.ndarray
    score: Score
    seed_names: tuple[int, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs."""
        return self.seed_names or tuple(range(len(self.counts)))

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.counts.shape[1]

    @property
    def scores(self) -> np.ndarray:
        """The metric of each seed, ``(seeds,)``."""
        return np.asarray(self.score(self.counts.sum(axis=1).astype(float)), dtype=float)

    @cached_property
    def right_or_wrong(self) -> bool:
        """Whether the metric is the share of right predictions, as McNemar's test requires."""
        if self.counts.shape[-1] != 2 or not (self.counts[..., 1] == 1).all() or not np.isin(self.counts[..., 0], (0, 1)).all():
            return False
        return np.allclose(self.score(np.array([[1.0, 4.0], [3.0, 4.0]])), [0.25, 0.75])

    def places(self, seeds: Sequence[int]) -> list[int] | slice:
        """Indices of some of the seeds; a slice for all seeds, which avoids a copy."""
        return slice(None) if tuple(seeds) == self.seeds else [self.seeds.index(seed) for seed in seeds]

    def at(self, seed: int) -> "Evidence":
        """The evidence of one seed."""
        place = self.seeds.index(seed)
        return replace(self, counts=self.counts[place : place + 1], seed_names=(seed,))


def per_seed(values: Sequence[float] | np.ndarray, seed_names: tuple[int, ...] = ()) -> Evidence:
    """Evidence of a metric that is only known for each seed, such as a loss: it has a single example.

    Two such arms are compared by the paired t test over seeds, since there is no variation between examples.
    """
    return Evidence(np.asarray(values, dtype=float)[:, None, None], _first_sum, seed_names)


def _first_sum(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0]


def bootstrap(examples: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of ``(draws, examples)``: how often each resample contains each example."""
    rng = np.random.default_rng(seed)
    for size in _blocks(examples, draws):
        drawn = rng.integers(examples, size=(size, examples)) + examples * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * examples).reshape(size, examples).astype(float)


def swaps(examples: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of ``(draws, examples)`` of 0 and 1: the examples whose predictions two models swap."""
    rng = np.random.default_rng(seed)
    for size in _blocks(examples, draws):
        yield rng.integers(2, size=(size, examples)).astype(float)


def _blocks(examples: int, draws: int) -> Iterator[int]:
    size = max(1, MAX_BLOCK_SIZE // max(examples, 1))
    for start in range(0, draws, size):
        yield min(size, draws - start)


def resampled_scores(arms: Mapping[Key, Evidence], draws: int, seed: int) -> dict[Key, np.ndarray]:
    """The metric of every arm and seed on the same resampled examples, ``(draws, seeds)`` per arm; NaN for one example."""
    parts: dict[Key, list[np.ndarray]] = {key: [] for key in arms}
    for key, arm in arms.items():
        if arm.examples == 1:
            parts[key].append(np.full((draws, len(arm.counts)), np.nan))
    for examples in {arm.examples for arm in arms.values()} - {1}:
        for weights in bootstrap(examples, draws, seed):
            for key, arm in arms.items():
                if arm.examples == examples:
                    parts[key].append(arm.score(_weighted(weights, arm.counts)))
    return {key: np.concatenate(blocks) for key, blocks in parts.items()}


def shuffled_differences(pairs: Mapping[Key, tuple[Evidence, Evidence]], draws: int, seed: int) -> dict[Key, np.ndarray]:
    """The difference of two arms that swap predictions of random examples, ``(draws,)`` per pair."""
    parts: dict[Key, list[np.ndarray]] = {key: [] for key in pairs}
    for examples in {one.examples for one, _ in pairs.values()}:
        for swapped in swaps(examples, draws, seed):
            for key, (one, other) in pairs.items():
                if one.examples == examples:
                    taken = _weighted(swapped, one.counts - other.counts)
                    first = one.score(other.counts.sum(axis=1) + taken)
                    second = other.score(one.counts.sum(axis=1) - taken)
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
