"""Simulated studies whose arms first choose one of several settings on validation, by trials."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit

from experiments.statistics.worlds import CHANCE, DIFFICULTY, World, accuracy, odds_of
from ftlit.study.selection.chance import choice_variance, pooled
from ftlit.study.statistics.runs import Evidence

LOST = (0.0, 0.01, 0.03, 0.10)  # what the settings of an arm lose against its best one, in each study in another order


@dataclass(frozen=True)
class Selecting(World):
    """A kind of study whose arms choose by accuracy on validation.

    Attributes:
        rows: Examples of validation.
        nested: Whether each seed chooses by its own trials; else the arm chooses once, by the trials of the first seed.
    """

    rows: int = 200
    nested: bool = True

    def truth(self, worse: float) -> np.ndarray:
        found = [self.mean - worse - _mean_loss(self, deviation, worse) for deviation in self.deviations]
        return np.array(found)

    def study(self, worse: np.ndarray, rng: np.random.Generator) -> tuple[dict[str, Evidence], dict[str, float]]:
        arms = len(self.deviations)
        lost = np.stack([rng.permutation(LOST) for _ in range(arms)])
        shape = (arms, len(LOST), self.seeds)
        rights = self.rights(np.array(self.deviations)[:, None, None], (worse[:, None] + lost)[..., None], rng, shape)
        validation, test = (self.answers(rights, examples, rng) for examples in (self.rows, self.examples))
        tried = validation.mean(-1)  # (arms, settings, seeds)
        chosen = tried.argmax(axis=1) if self.nested else np.repeat(tried[:, :, 0].argmax(axis=1)[:, None], self.seeds, axis=1)
        right = np.take_along_axis(test, chosen[:, None, :, None], axis=1)[:, 0]
        found = {f"arm {i}": _evidence(right[i]) for i in range(arms)}
        return found, pooled({f"arm {i}": self._added(validation[i], chosen[i]) for i in range(arms)})

    def answers(self, rights: np.ndarray, examples: int, rng: np.random.Generator) -> np.ndarray:
        """Whether runs with these shares of right answers are right, ``(arms, settings, seeds, examples)``."""
        arms, settings, seeds = rights.shape
        meaning = (
            DIFFICULTY * rng.normal(size=examples)
            + self.taste * rng.normal(size=(arms, settings, 1, examples))
            + CHANCE * rng.normal(size=(arms, settings, seeds, examples))
        )
        return rng.random(meaning.shape) < expit(odds_of(rights, self.taste)[..., None] + meaning)

    def _added(self, validation: np.ndarray, chosen: np.ndarray) -> float:
        """What the choice adds to the variance of an arm's mean, from its trials ``(settings, seeds, examples)``."""
        if self.nested:
            return 0.0
        deviation = float(validation[chosen[0]].mean(-1).std(ddof=1))
        return choice_variance([_evidence(one[:1]) for one in validation], lower=False, deviation=deviation)


@lru_cache
def _mean_loss(world: Selecting, deviation: float, worse: float) -> float:
    """What an arm loses on average by its choice, from many trials of one seed."""
    rng, lost = np.random.default_rng(0), np.array(LOST)
    shape, found = (200, len(LOST), 1), list[float]()
    for _ in range(50):
        rights = world.rights(np.array(deviation), (worse + lost)[:, None], rng, shape)
        chosen = world.answers(rights, world.rows, rng).mean(-1)[:, :, 0].argmax(axis=1)
        found += lost[chosen].tolist()
    return float(np.mean(found))


def _evidence(right: np.ndarray) -> Evidence:
    return Evidence(np.stack([right, np.ones_like(right)], -1).astype(float), accuracy)
