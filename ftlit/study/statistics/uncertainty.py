"""The uncertainty of a mean over few seeds and many examples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The standard errors of means over seeds and examples, and how precisely they are known.

    The metric of a seed is the method's true value, plus an effect of the seed, plus an effect of the sampled examples,
    which is partly common to all seeds and partly specific to each. The variance of a mean over S seeds is split into::

        between = var(metric of a seed) / S                  effects of seeds, and the seed-specific effect of examples
        own     = (variance - covariance of seeds) / S       the seed-specific effect, by the bootstrap over examples
        common  = covariance of seeds                        the common effect of examples, by the bootstrap over examples
        error²  = max(between, own / 4) + max(common, 0)

    This is the analysis of readers and cases by Obuchowski and Rockette (1995), with seeds as readers. Seeds are not
    resampled: resampling S - 1 of S seeds (Rao and Wu 1988) has the variance `between` on average, and resampling S of S
    only (S - 1) / S of it. The floor `own / 4` guards against seeds that agree by chance. With a quarter, the coverage of
    intervals of 95% stays between 94.8% and 96.7% from 3 seeds on, whatever the sizes of the three parts
    (tests/study/test_statistics.py). This holds on average over studies: if seeds happen to agree entirely, the error is as
    little as half of what it should be.

    The tail of the mean is Student's t with S - 1 degrees of freedom for the share of error² that comes from `between`, and
    normal for the rest; this applies to p-values what Cochran and Cox (1957) apply to quantiles. Satterthwaite's degrees of
    freedom (Hillis 2007) are too many when few seeds agree by chance, and lead to too many false positives. Without examples,
    the result is the t test over seeds. experiments/results/statistics.md shows the calibration.

    Attributes:
        error: Standard errors, ``(means,)``; NaN if unknown.
        share: Share of error² that was estimated from seeds; 0 for one seed.
        freedom: Degrees of freedom of that share: the number of seeds minus 1, but at least 1.
    """

    error: np.ndarray
    share: np.ndarray
    freedom: np.ndarray

    def p_value(self, distance: np.ndarray) -> np.ndarray:
        """The two-sided p-values of means at `distance` from the null hypothesis; 1 if unknown."""
        known = np.isfinite(self.error) & np.isfinite(distance) & (distance != 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(known, abs(distance) / self.error, 0.0)
        return 2 * _tail(ratio, self.share, self.freedom)

    def quantile(self, level: float) -> np.ndarray:
        """Half the width of confidence intervals at level 1 - `level`, in standard errors."""
        from scipy.special import ndtri, stdtrit

        # The quantile lies between the quantiles of both distributions.
        low, high = -ndtri(level / 2) + 0 * self.share, -stdtrit(self.freedom, level / 2)
        return _root(lambda x: level / 2 - _tail(x, self.share, self.freedom), low, high)

    def detectable(self, level: float, power: float = 0.8) -> np.ndarray:
        """The smallest true differences that are detected at `level` with probability `power`; infinite if unknown."""
        errors = np.ones(len(self.share))
        grid = np.linspace(0, 1, 33)  # SciPy's noncentral t is too slow for thousands of means
        for freedom in np.unique(self.freedom):
            among = self.freedom == freedom
            found = Uncertainty(0 * grid + 1, grid, 0 * grid + freedom)._shift(level, power)
            errors[among] = np.interp(self.share[among], grid, found)
        return np.where(np.isfinite(self.error), self.error * errors, np.inf)

    def _shift(self, level: float, power: float) -> np.ndarray:
        """The detectable difference in standard errors."""
        quantile = self.quantile(level)
        near = np.minimum(quantile, 100)  # beyond it, quantile and shift grow in proportion
        shift = _root(lambda x: _power(x, near, self.share, self.freedom) - power, 0 * near, 1.3 * near + 10)
        return shift * quantile / near


def _root(rising: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The zeros of increasing functions, by bisection, which for few means is 50 times as fast as SciPy's `elementwise`."""
    for _ in range(30):
        middle = (low + high) / 2
        below = rising(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _tail(x: np.ndarray, share: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr, stdtr

    return share * stdtr(freedom, -x) + (1 - share) * ndtr(-x)


def _power(shift: np.ndarray, quantile: np.ndarray, share: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    from scipy.special import nctdtr, ndtr

    return share * (1 - nctdtr(freedom, shift, quantile)) + (1 - share) * ndtr(shift - quantile)


def uncertainty(means: Iterable[tuple[np.ndarray, np.ndarray]]) -> Uncertainty:
    """The uncertainty of several means.

    Args:
        means: For each mean the values of its seeds, ``(seeds,)``, and their values on resampled examples,
            ``(draws, seeds)``. Draws without a value, such as the correlation of a constant, are ignored; if none remain,
            only the seeds are used.
    """
    rows = [_parts(values, draws) for values, draws in means]
    error, share, freedom = np.array(rows, dtype=float).reshape(-1, 3).T
    return Uncertainty(error, share, freedom)


def _parts(values: np.ndarray, draws: np.ndarray) -> tuple[float, float, int]:
    """Standard error, share and degrees of freedom of one mean."""
    seeds = len(values)
    covariance = _covariance(draws if np.isfinite(draws).all() else draws[np.isfinite(draws).all(axis=1)])
    if seeds == 1 or not np.isfinite(values).all():
        return float(np.sqrt(covariance[0, 0])) if seeds == 1 else float("nan"), 0.0, 1
    covariance = np.nan_to_num(covariance)
    variance = np.trace(covariance) / seeds
    common = (covariance.sum() / seeds - variance) / (seeds - 1)
    error, share = combine_variances(values.var(ddof=1) / seeds, (variance - common) / seeds, common)
    return float(error), float(share), seeds - 1


def combine_variances(between: np.ndarray, own: np.ndarray, common: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The standard errors of means, and the shares of their squares that were estimated from seeds.

    Args:
        between: Variances of the means, estimated from the spread of seeds.
        own: Variances due to the seed-specific effects of examples, by the bootstrap.
        common: Variances due to the common effects of examples, by the bootstrap.
    """
    total = np.maximum(between, own / 4) + np.maximum(common, 0.0)
    return np.sqrt(total), np.divide(between, total, out=np.ones_like(total), where=total > 0)


def _covariance(draws: np.ndarray) -> np.ndarray:
    """Covariance of seeds; NaN with fewer than two draws."""
    if len(draws) < 2:
        return np.full(draws.shape[1:] * 2, np.nan)
    deviations = draws - draws.mean(axis=0)
    return deviations.T @ deviations / (len(draws) - 1)
