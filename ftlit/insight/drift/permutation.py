"""Tests of whether two samples differ: a statistic, its values by chance, and a verdict over several tests.

A small p alone would call every difference of large samples a drift, so a test finds one only if its effect, too, is at least
a stated size. The p-values are corrected for the number of tests (Holm, 1979).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

# From which rows are the new ones, boolean ``(draws, rows)``, to one number for each draw, ``(draws,)``.
Statistic = Callable[[np.ndarray], np.ndarray]

DRAWS, LEVEL = 999, 0.05
MAX_BLOCK_SIZE = 4_000_000  # numbers of a block of draws
TIE = 1e-7  # by which sums in another order may differ


@dataclass(frozen=True)
class ShiftTest:
    """A test of whether the new rows differ from the reference.

    Args:
        name: What is compared.
        measure: What the effect is.
        effect: Size of the difference.
        least: The smallest effect that counts.
        chance: The effect that 5% of the random divisions of the same rows exceed.
        p: Share of the random divisions whose effect is as large, with this division counted among them.
        adjusted: The p-value, corrected for the number of tests.
    """

    name: str
    measure: str
    effect: float
    least: float
    chance: float
    p: float
    adjusted: float = float("nan")

    @property
    def differs(self) -> bool:
        """Whether the difference is neither chance nor too small to count."""
        return self.adjusted < LEVEL and self.effect >= self.least

    def record(self) -> dict[str, Any]:
        """The test for JSON."""
        return {**asdict(self), "differs": self.differs}


def shift_test(
    name: str, measure: str, least: float, statistic: Statistic, reference: int, new: int, seed: int = 0
) -> ShiftTest:
    """Test a statistic by dividing the same rows at random.

    The p-value is exact if the rows are independent, whatever their distribution (Phipson and Smyth, 2010).

    Args:
        name: What is compared.
        measure: What the statistic is.
        least: The smallest effect that counts.
        statistic: The statistic. It may know the rows, but not which of them are new.
        reference: Number of reference rows, which come first.
        new: Number of new rows.
        seed: Seed of the divisions.
    """
    own = np.arange(reference + new) >= reference
    effect = float(statistic(own[None])[0])
    drawn = np.concatenate([statistic(block) for block in _divisions(own, seed)])
    p = (1 + int((drawn >= effect - TIE).sum())) / (1 + DRAWS)
    return ShiftTest(name, measure, effect, least, float(np.quantile(drawn, 1 - LEVEL)), p)


def _divisions(own: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    rng, size = np.random.default_rng(seed), max(1, MAX_BLOCK_SIZE // len(own))
    for start in range(0, DRAWS, size):
        yield rng.permuted(np.tile(own, (min(size, DRAWS - start), 1)), axis=1)


def corrected(tests: Sequence[ShiftTest]) -> list[ShiftTest]:
    """The tests with p-values that bound the probability of any false finding among them (Holm, 1979)."""
    p = np.array([test.p for test in tests])
    order = p.argsort(kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return [replace(test, adjusted=float(value)) for test, value in zip(tests, adjusted, strict=True)]


# Statistics


def distribution_distance(values: np.ndarray) -> Statistic:
    """The largest distance between the cumulative distributions of numbers ``(rows,)`` (Kolmogorov and Smirnov)."""
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))  # the last of equal numbers

    def statistic(new: np.ndarray) -> np.ndarray:
        below = new[:, order].cumsum(1, dtype=np.int32)
        count = below[:, -1:]
        below = below[:, ends]
        return np.abs(below / count - (ends + 1 - below) / (len(values) - count)).max(1)

    return statistic


def mix_distance(counts: np.ndarray) -> Statistic:
    """The total variation distance between the mixes of some kinds: half the sum of the differences of their shares.

    With two kinds, it is the difference of the share of either.

    Args:
        counts: How often each row has each kind, ``(rows, kinds)``.
    """
    counts = counts.astype(np.float32)
    every = counts.sum(0, dtype=np.float64)

    def statistic(new: np.ndarray) -> np.ndarray:
        own = (new.astype(np.float32) @ counts).astype(np.float64)
        return np.abs(_shares(own) - _shares(every - own)).sum(1) / 2

    return statistic


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)
