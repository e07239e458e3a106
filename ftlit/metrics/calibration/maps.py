"""Maps from the scores of a model to better probabilities, which keep the order of the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAREST = 6e-8  # to 1 that a probability of single precision can be without being 1
OWN = 1e-3  # share of the model's own probability in one of an isotonic map, so that none is 0 and no two become equal


@dataclass(frozen=True)
class ScoreMap:
    """A map of probabilities: the logits are divided by a temperature, and a monotone function follows, if there is one.

    Args:
        temperature: The temperature (Guo et al., 2017). 1 changes nothing.
        points: Probabilities in rising order and the values of the function at them, which are joined by lines; None if there
            is no function. It is the same for all classes, so that their order stays (Zhang et al., 2020).
    """

    temperature: float = 1.0
    points: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.temperature == 1 and self.points is None

    def __call__(self, values: np.ndarray, several: bool) -> np.ndarray:
        """Map probabilities.

        Args:
            values: Probabilities, ``(units, classes)``. What is 0 stays 0, unless classes are independent.
            several: Whether classes are independent. Others add up to 1, before and after.
        """
        tempered = values if self.temperature == 1 else divided_logits(values, self.temperature, several)
        if self.points is None:
            return tempered
        mapped = (1 - OWN) * np.interp(tempered, *self.points) + OWN * tempered
        if several:
            return mapped
        mapped = np.where(values > 0, mapped, 0.0)
        return np.asarray(mapped / np.maximum(mapped.sum(1, keepdims=True), np.finfo(float).tiny))


def divided_logits(values: np.ndarray, temperature: float, several: bool) -> np.ndarray:
    """The probabilities of logits that are divided by a temperature, from those of the logits, ``(units, classes)``."""
    with np.errstate(divide="ignore"):
        if several:
            inside = np.minimum(values, 1 - NEAREST)
            return np.asarray(1 / (1 + np.exp(-(np.log(inside) - np.log1p(-inside)) / temperature)))
        logs = np.log(values) / temperature
    found = np.exp(logs - logs.max(1, keepdims=True, initial=-1e300))
    return np.asarray(found / np.maximum(found.sum(1, keepdims=True), np.finfo(float).tiny))
