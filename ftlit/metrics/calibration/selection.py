"""Risk against coverage: the share of wrong answers if only the surest are given (Geifman and El-Yaniv, 2017)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ftlit.metrics.calibration.decisions import Stated

POINTS = 100  # of a curve
SEED = 0  # of the order of answers with equal probabilities, which the order of rows should not decide


class Curve(NamedTuple):
    """A risk-coverage curve.

    Attributes:
        coverage: Shares of answers that are given, the surest first.
        risk: The share of wrong ones among them.
    """

    coverage: np.ndarray
    risk: np.ndarray


def surest_first(probability: np.ndarray) -> np.ndarray:
    """Positions of answers by falling probability, ``(answers,)``; equal ones in a random order that is always the same."""
    mixed = np.random.default_rng(SEED).permutation(len(probability))
    return mixed[np.argsort(-probability[mixed], kind="stable")]


def risk_coverage(answers: Stated) -> Curve:
    """The curve of answers, at up to 100 shares of equal distance."""
    count = len(answers.true)
    risk = np.cumsum(~answers.true[surest_first(answers.probability)]) / np.arange(1, count + 1)
    given = np.unique(np.ceil(np.linspace(0, count, POINTS + 1)[1:]).astype(int))
    return Curve(given / count, risk[given - 1])


def area(answers: Stated) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights of rows, ``(draws, rows)``, to the areas under the curve, ``(draws,)``."""
    order = surest_first(answers.probability)
    owner, wrong = answers.owner[order], (~answers.true[order]).astype(float)
    return lambda weights: np.array([_weighted_area(drawn[owner], wrong) for drawn in weights])  # one by one fits the cache


def _weighted_area(weights: np.ndarray, wrong: np.ndarray) -> float:
    risk = np.cumsum(weights * wrong) / np.maximum(np.cumsum(weights), 1)
    return float(weights @ risk / max(weights.sum(), 1))  # few answers may all be missing from a resample
