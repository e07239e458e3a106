"""Tests that are repeated while seeds are added: the looks at the results, and p-values that hold at any of them.

A study with sequential seeds looks at its results at numbers of seeds that are fixed beforehand. Until each look it may spend a
part of the level (Lan and DeMets 1983) in proportion to the seeds so far (Kim and DeMets 1987), so that the probability of a
false positive at any look is at most the level. The critical values follow from the joint distribution of the looks, by the
recursion of Armitage, McPherson and Rowe (1969; see Jennison and Turnbull 2000, chapter 19): at n seeds, a mean has
information in proportion to n, and its increments are independent. Examples that all seeds share make looks more alike than
that, which only makes the tests conservative.

The p-value of a look is turned into the smallest level of the whole design at which this look would have been significant
(the repeated p-value of Jennison and Turnbull). Its minimum over all looks so far is a valid p-value whenever one stops, for
whatever reason, so Holm's method can adjust such p-values like any others, and a study may stop some pairs and go on with
others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np

NODES = 96  # points of the numerical integration over the results of a look
HIGHEST = 40.0  # no critical value is above it
GRID = np.logspace(-14, log(0.5) / log(10), 120)  # levels of the design for which the looks are tabulated


def critical_values(information: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The critical values of two-sided tests at each look.

    Args:
        information: The information at each look, such as its number of seeds, ``(looks,)``.
        error: The probability under the null hypothesis of a significant result at this look or before, for each design,
            ``(designs, looks)``.

    Returns:
        The absolute values of standard normal statistics that are significant, ``(designs, looks)``.
    """
    steps, found = np.diff(error, axis=1, prepend=0.0), []
    walk = _Walk(len(error))
    for look, increment in enumerate(np.diff(information, prepend=0.0)):
        scale = np.sqrt(information[look])
        found.append(_root_of_falling(lambda z: walk.beyond(z * scale, increment), steps[:, look]))  # noqa: B023
        walk.go(found[-1] * scale, increment)
    return np.stack(found, axis=1)


def _root_of_falling(falling: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """Where falling functions have the wanted values, by bisection."""
    low, high = 0 * wanted, 0 * wanted + HIGHEST
    for _ in range(60):
        middle = (low + high) / 2
        above = falling(middle) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


class _Walk:
    """A random walk that ends when it leaves the limits of a look.

    Args:
        designs: Number of designs, each with its own limits.
    """

    def __init__(self, designs: int) -> None:
        self.places, self.mass = np.zeros((designs, 1)), np.ones((designs, 1))  # where it may be, and with which probability

    def beyond(self, limit: np.ndarray, increment: float) -> np.ndarray:
        """The probability that the next step ends beyond ± limit, ``(designs,)``."""
        from scipy.special import ndtr

        step, limit = np.sqrt(increment), limit[:, None]
        return (self.mass * (ndtr((self.places - limit) / step) + ndtr((-self.places - limit) / step))).sum(axis=1)

    def go(self, limit: np.ndarray, increment: float) -> None:
        """Take a step, and end where it leads beyond ± limit."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        places = limit[:, None] * nodes
        distance = (places[:, :, None] - self.places[:, None, :]) ** 2 / (2 * increment)
        density = (np.exp(-distance) * self.mass[:, None, :]).sum(axis=2) / np.sqrt(2 * np.pi * increment)
        self.places, self.mass = places, density * weights * limit[:, None]


@lru_cache
def _levels(seeds: tuple[int, ...]) -> np.ndarray:
    """The levels of looks for each level in `GRID`, ``(levels, looks)``."""
    from scipy.special import ndtr

    information = np.array(seeds, dtype=float)
    found = 2 * ndtr(-critical_values(information, GRID[:, None] * information / information[-1]))
    return np.maximum.accumulate(found)


@dataclass(frozen=True)
class Looks:
    """The looks of a design.

    Args:
        seeds: The number of seeds at each look.
    """

    seeds: tuple[int, ...]

    def levels(self, level: float) -> np.ndarray:
        """The level of the test at each look, for a level of the whole design, ``(looks,)``."""
        return np.array([np.exp(np.interp(log(level), np.log(GRID), np.log(one))) for one in _levels(self.seeds).T])

    def p_value(self, look: int, p: float) -> float:
        """The smallest level of the whole design at which a p-value of one look is significant; 1 if none is below a half.

        Args:
            look: Number of the look, from 0.
            p: The p-value of the ordinary test at this look.
        """
        levels = _levels(self.seeds)[:, look]
        if p > levels[-1]:
            return 1.0
        return float(np.exp(np.interp(log(max(p, levels[0])), np.log(levels), np.log(GRID))))

    def predictive_power(self, look: int, ratio: float, level: float, sides: int = 2) -> float:
        """The probability that the last look will be significant, given a look before it (Spiegelhalter et al. 1986).

        What is known of the true difference is what the look says, with its uncertainty.

        Args:
            look: Number of the look, from 0.
            ratio: The distance from the null hypothesis at this look, in standard errors.
            level: The level of the whole design.
            sides: Number of sides of the test.
        """
        from scipy.special import ndtr, ndtri

        share, critical = self.seeds[look] / self.seeds[-1], -ndtri(self.levels(level)[-1] / sides)
        return float(ndtr((ratio / np.sqrt(share) - critical) / np.sqrt(1 / share - 1)))
