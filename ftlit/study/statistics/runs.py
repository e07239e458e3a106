"""What is known of the runs of an arm: what each example adds to a metric, and how the metric varies with the examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]

MAX_BLOCK_SIZE = 4_000_000  # numbers in a block (32 MB)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The predictions of one arm's models, reduced to what a metric needs from each example.

    Attributes:
        counts: What each example adds to the sums of each seed, ``(seeds, examples, k)``. For accuracy these are 1 or 0 for
            right or wrong, and 1; for span F1 true positives, false positives and false negatives.
        score: Computes the metric from sums: ``(..., k)`` to ``(...)``.
        seed_names: The seeds of the runs; if empty, they are 0, 1, …
        clusters: Number of the document, dialogue or user of each example, ``(examples,)``; None if all are independent.
    """

    counts: np.ndarray
    score: Score
    seed_names: tuple[int, ...] = ()
    clusters: np.ndarray | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs."""
        return self.seed_names or tuple(range(len(self.counts)))

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.counts.shape[1]

    @cached_property
    def units(self) -> np.ndarray:
        """What each independent unit adds, a cluster or else an example, ``(seeds, units, k)``."""
        if self.clusters is None:
            return self.counts
        numbers = np.unique(self.clusters, return_inverse=True)[1]
        found = np.zeros((len(self.counts), numbers.max() + 1, self.counts.shape[-1]))
        for seed, counts in enumerate(self.counts):
            np.add.at(found[seed], numbers, counts)
        return found

    @cached_property
    def scores(self) -> np.ndarray:
        """The metric of each seed, ``(seeds,)``."""
        return np.asarray(self.score(self.counts.sum(axis=1).astype(float)), dtype=float)

    @cached_property
    def right_or_wrong(self) -> bool:
        """Whether the metric is the share of right predictions on independent examples, as McNemar's test requires."""
        if self.clusters is not None or self.counts.shape[-1] != 2:
            return False
        if not (self.counts[..., 1] == 1).all() or not np.isin(self.counts[..., 0], (0, 1)).all():
            return False
        return np.allclose(self.score(np.array([[1.0, 4.0], [3.0, 4.0]])), [0.25, 0.75])

    @cached_property
    def deviations(self) -> np.ndarray:
        """How far the metric of each run lies from its mean when a unit is left out, ``(seeds, units)``, by the jackknife.

        The products of two runs' deviations add up to the covariance that sampling the units gives their metrics, as in
        `covariance`. Units without which the metric is undefined do not count.
        """
        totals = self.units.sum(axis=1, keepdims=True).astype(float)
        seeds, units, k = self.units.shape
        size = max(1, MAX_BLOCK_SIZE // max(seeds * k, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = [self.score(totals - self.units[:, start : start + size]) for start in range(0, units, size)]
        left_out = np.concatenate(parts, axis=1)
        known = np.isfinite(left_out)
        means = np.where(known, left_out, 0.0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
        return np.where(known & (units > 1), left_out - means, 0.0) * np.sqrt((units - 1) / units)

    def at(self, seed: int) -> "Evidence":
        """The evidence of one seed."""
        place = self.seeds.index(seed)
        return replace(self, counts=self.counts[place : place + 1], seed_names=(seed,))


def per_seed(values: Sequence[float] | np.ndarray, seed_names: tuple[int, ...] = ()) -> Evidence:
    """Evidence of a metric that is only known for each seed, such as a loss: it has a single example."""
    return Evidence(np.asarray(values, dtype=float)[:, None, None], _first_sum, seed_names)


def _first_sum(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0]


def covariance(arms: Sequence[Evidence]) -> tuple[np.ndarray, np.ndarray]:
    """What the sampled examples contribute to the variances of arms on the same examples.

    Args:
        arms: The arms.

    Returns:
        The covariance that they give to any two different runs, by arms, ``(arms, arms)``; and the variance that they give to
        one run of an arm beyond this, ``(arms,)``. Both are zero where nothing is known about examples.
    """
    counts = [len(arm.counts) for arm in arms]
    deviations = np.concatenate([arm.deviations for arm in arms])
    owners = np.repeat(np.arange(len(arms)), counts)
    sums = np.zeros((len(arms), deviations.shape[1]))
    np.add.at(sums, owners, deviations)
    total, own = sums @ sums.T, np.zeros(len(arms))
    np.add.at(own, owners, (deviations**2).sum(axis=1))
    sizes = np.array(counts, dtype=float)
    common = total / np.outer(sizes, sizes)
    pairs = sizes * (sizes - 1)
    within = np.divide(total.diagonal() - own, pairs, out=own / sizes, where=pairs > 0)
    np.fill_diagonal(common, within)
    return common, np.maximum(own / sizes - within, 0.0)
