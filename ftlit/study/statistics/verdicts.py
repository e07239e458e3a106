"""How many seeds would settle a comparison that is still open."""

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from ftlit.study.statistics.pool import Pool

Family = Literal["primary", "secondary"]
POWER = 0.8


def seeds_needed(pool: "Pool", one: np.ndarray, other: np.ndarray, level: float, margin: float | None) -> np.ndarray:
    """The number of seeds of each arm with which a comparison would be decided with a power of 80%, ``(pairs,)``.

    Args:
        pool: The arms.
        one: Indices of the first arms, ``(pairs,)``.
        other: Indices of the second arms.
        level: Significance level of one comparison.
        margin: A difference that does not matter: smaller ones are to be found equivalent, larger ones different.

    Returns:
        The numbers, if the true differences are those that were found; infinite if more seeds cannot decide, because the
        examples are too few.
    """
    from scipy.special import ndtri

    distance, side = abs(pool.means[one] - pool.means[other]), np.full(len(one), 2.0)
    if margin is not None:
        inside = distance < margin
        distance, side = np.where(inside, margin - distance, distance), np.where(inside, 1.0, 2.0)
    variances, diagonal = pool.variance_of_a_seed(), pool.common.diagonal()
    fixed = np.maximum(diagonal[one] + diagonal[other] - 2 * pool.common[one, other], 0.0) + pool.added[one] + pool.added[other]
    room = (distance / (-ndtri(level / side) + ndtri(POWER))) ** 2 - fixed
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.ceil((variances[one] + variances[other]) / room)
    return np.where(np.isfinite(found) & (room > 0), np.maximum(found, 3), np.inf)
