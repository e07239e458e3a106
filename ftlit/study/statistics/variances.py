"""The variance over seeds of each arm of a study, which few seeds tell little about and all arms together tell more.

The variance of an arm is known from S seeds as well as from S - 1 numbers, and badly. The variances of the other arms say in
which order of magnitude it lies. As in limma (Smyth, 2004), they have a scaled inverse chi-squared distribution over arms, with
a scale and with degrees of freedom that say how alike they are, in numbers of seeds. Smyth estimates both; a dozen arms leave
them uncertain, and an estimate that is too sure makes false claims. Here both have a distribution as well, over a grid, and so
has the variance of each arm: a study with one wild arm has a wide one (the purpose of Phipson et al., 2016), and with a single
arm it is that of Student's t. No variance is smaller than what the sampled examples give to a run.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FREEDOM = np.geomspace(0.25, 100, 10)
# The weight of many degrees of freedom, as an exponent, for few arms and for many: few cannot show that they are alike. They
# were chosen by experiments/statistics/calibration.py: with more weight on alike arms, studies of unlike arms claim too much.
ARMS, EXPONENTS = (2, 14), (-0.35, 0.35)
SCALES, VARIANCES, SPAN = 60, 64, 50.0
LEAST_CHANCE = 1e-12  # of a prior that is looked at
LEAST = 1e-3  # of the typical variance, in place of seeds that agree entirely


@dataclass(frozen=True, eq=False)
class Variances:
    """What is known of the variances over seeds, of one run each.

    Attributes:
        grid: Possible variances, ``(grid,)``.
        weights: Probability of each possible variance for each arm, ``(arms, grid)``.
        observed: The variances of the seeds that were seen, ``(arms,)``; NaN for one seed.
        freedom: The degrees of freedom that the arms together add to those of each arm, on average.
        cautious: The probabilities with less weight on arms that are alike, ``(arms, grid)``, for an arm with which many others
            are compared: if its variance is taken to be too small, all of these comparisons claim too much at once.
    """

    grid: np.ndarray
    weights: np.ndarray
    cautious: np.ndarray
    observed: np.ndarray
    freedom: float

    @cached_property
    def typical(self) -> np.ndarray:
        """The median of each arm's variance, ``(arms,)``."""
        return self.grid[np.minimum((np.cumsum(self.weights, axis=1) < 0.5).sum(axis=1), len(self.grid) - 1)]


def moderated(observed: np.ndarray, freedom: np.ndarray, least: np.ndarray) -> Variances | None:
    """What all arms together say about the variance of each.

    Args:
        observed: Variances of the seeds of each arm, ``(arms,)``.
        freedom: Their degrees of freedom, ``(arms,)``: the number of seeds minus 1.
        least: The least that each can be, ``(arms,)``; 0 if unknown.

    Returns:
        The variances; None if no seeds differ, and nothing is known of examples.
    """
    seen = observed[(freedom > 0) & (observed > 0)]
    sizes = np.concatenate([seen, least[least > 0]])
    if not len(sizes):
        return None
    typical = float(np.median(sizes))
    values = np.where(freedom > 0, np.maximum(observed, LEAST * typical), typical)
    low, high = max(sizes.min(), LEAST * typical), values.max()
    grid = np.geomspace(low / SPAN, high * SPAN * 20, VARIANCES)
    possible = grid >= least[:, None]
    likelihood = _likelihood(values, freedom, grid) * possible
    priors = _priors(grid, np.geomspace(low / SPAN, high * SPAN, SCALES))
    allowed = np.maximum(possible.astype(float) @ priors.T, 1e-12)
    evidence = np.maximum(likelihood @ priors.T / allowed, 1e-300)  # (arms, priors)
    exponent = np.interp(np.log(max((freedom > 0).sum(), 1)), np.log(ARMS), EXPONENTS)
    found = []
    for power in (min(exponent, EXPONENTS[0]), exponent):
        log = np.log(evidence).sum(axis=0) + np.repeat(power * np.log(FREEDOM), SCALES)
        chance = np.exp(log - log.max())
        chance /= chance.sum()
        some = chance > LEAST_CHANCE
        weights = likelihood * ((chance[some] / (evidence * allowed)[:, some]) @ priors[some])
        found.append(weights / weights.sum(axis=1, keepdims=True))
    known = float(chance.reshape(len(FREEDOM), SCALES).sum(axis=1) @ FREEDOM)
    return Variances(grid, found[1], found[0], np.where(freedom > 0, observed, np.nan), known)


def _likelihood(values: np.ndarray, freedom: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """How likely each possible variance makes each arm's, ``(arms, grid)``, up to a factor of the arm."""
    ratio, half = np.outer(freedom * values, 1 / grid), freedom[:, None] / 2
    log = half * np.log(np.maximum(ratio, 1e-300)) - ratio / 2
    return np.exp(log - log.max(axis=1, keepdims=True))


def _priors(grid: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Scaled inverse chi-squared distributions on a grid, ``(freedoms * scales, grid)``."""
    ratio = FREEDOM[:, None, None] * scales[None, :, None] / grid[None, None, :]
    log = FREEDOM[:, None, None] / 2 * np.log(ratio) - ratio / 2
    found = np.exp(log - log.max(axis=-1, keepdims=True)).reshape(-1, len(grid))
    return found / found.sum(axis=1, keepdims=True)
