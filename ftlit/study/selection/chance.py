"""How far chance decides which of several trained settings is best on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftlit.study.statistics.runs import Evidence

DRAWS = 1000  # resamples of the examples
SURE = 1.96  # standard errors by which the best setting leads if chance does not explain it, at a level of 5%
POWERFUL = 0.84  # standard errors more for a power of 80%


@dataclass(frozen=True)
class Lead:
    """How far the best setting leads on validation.

    Args:
        difference: Difference to the second best, above 0 whichever values are better.
        error: Its standard error over examples.
        rows: Number of examples.
    """

    difference: float
    error: float
    rows: int

    @property
    def by_chance(self) -> bool:
        """Whether chance may explain it."""
        return self.difference < SURE * self.error

    @property
    def rows_needed(self) -> float:
        """Number of examples that tell both settings apart with a power of 80%, if they differ as found; else infinite."""
        return self.rows * ((SURE + POWERFUL) * self.error / self.difference) ** 2 if self.difference else float("inf")


def resampled_means(settings: Sequence[Evidence], seed: int = 0) -> np.ndarray:
    """The metric of settings on the same resampled examples or clusters, as means over seeds, ``(draws, settings)``."""
    added = np.concatenate([one.units for one in settings]).astype(float)
    runs, units, k = added.shape
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=DRAWS)
    sums = (drawn @ np.moveaxis(added, 0, 1).reshape(units, runs * k)).reshape(DRAWS, runs, k)
    ends = np.cumsum([len(one.counts) for one in settings])[:-1]
    parts = zip(settings, np.split(sums, ends, axis=1), strict=True)
    return np.stack([np.asarray(one.score(part), dtype=float).mean(axis=1) for one, part in parts], axis=1)


def choice_variance(settings: Sequence[Evidence], lower: bool, deviation: float = 0.0, seed: int = 0) -> float:
    """The variance of the metric that comes from choosing the best of several settings.

    The examples are resampled, the runs of each setting are taken to come out a little differently, and the best setting is
    chosen again. The variance is that of the metric on all examples of the settings that are chosen. Where settings are alike
    this is more than the choice costs, so claims that include it err on the side of caution.

    Args:
        settings: The evidence of each setting, on the same examples of validation.
        lower: Whether lower values of the metric are better.
        deviation: Standard deviation of a setting's mean over other seeds.
        seed: Seed of the resamples.
    """
    means = np.array([one.scores.mean() for one in settings])
    known = np.isfinite(means)
    if known.sum() < 2:
        return 0.0
    found = resampled_means([one for one, there in zip(settings, known, strict=True) if there], seed)
    found = found + np.random.default_rng([seed, 1]).normal(0.0, deviation, found.shape)
    found = np.where(np.isfinite(found), -found if lower else found, -np.inf)
    return float(means[known][found.argmax(axis=1)].var())


def pooled(variances: Mapping[str, float]) -> dict[str, float]:
    """The variances of the choices of arms, each moved halfway to the mean of all.

    An arm whose best setting leads by chance on few examples would look as if its choice were certain.
    """
    if not variances:
        return {}
    mean = sum(variances.values()) / len(variances)
    return {name: (own + mean) / 2 for name, own in variances.items()}


def lead(best: Evidence, second: Evidence) -> Lead:
    """How far the best of several settings leads before the second best.

    Args:
        best: The evidence of the best setting on validation.
        second: That of the second best, on the same examples.
    """
    drawn = resampled_means([best, second])
    difference = float(best.scores.mean() - second.scores.mean())
    return Lead(abs(difference), float(np.nanstd(drawn[:, 0] - drawn[:, 1])), best.examples)
