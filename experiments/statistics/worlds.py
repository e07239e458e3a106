"""Simulated studies whose true values are known: where the right answers of models come from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit

from ftlit.study.statistics.runs import Evidence

# Deviations over seeds that fourteen tuning methods had, with accuracy on SST-2 and macro F1 on SemEval 2010.
SST2 = (0.013, 0.007, 0.008, 0.028, 0.007, 0.017, 0.014, 0.006, 0.005, 0.013, 0.011, 0.006, 0.025, 0.009)
SEMEVAL = (0.023, 0.039, 0.015, 0.018, 0.159, 0.020, 0.040, 0.038, 0.013, 0.059, 0.278, 0.056, 0.029, 0.030)
DIFFICULTY, TASTE, CHANCE = 1.5, 0.3, 0.3  # deviations of log odds: of examples, of what they mean to an arm, and to a run
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
ODDS = np.linspace(-14, 14, 4001)
POSITIVES = 0.02  # share of positive examples for the F1 of a rare class

SEED_EFFECTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
    "skewed": lambda rng, shape: 1 - rng.exponential(size=shape),
}


@dataclass(frozen=True)
class World:
    """A kind of study.

    Attributes:
        name: What is special about it.
        deviations: Deviation over seeds of each arm's share of right answers.
        seeds: Runs of each arm.
        examples: Test examples.
        mean: Share of right answers of the better arms; for `rare`, the recall of the positive class.
        effects: Distribution of the effects of seeds, of `SEED_EFFECTS`.
        collapsing: Share of runs that collapse to half of the mean.
        cluster: Examples of a document; 1 if all are independent.
        correlation: Correlation of what the examples of a document mean to models.
        rare: Whether the metric is the F1 of a class that 2% of the examples have, not accuracy.
        taste: Deviation of what an example means to an arm, in log odds.
    """

    name: str
    deviations: tuple[float, ...] = SST2
    seeds: int = 3
    examples: int = 1000
    mean: float = 0.85
    effects: str = "normal"
    collapsing: float = 0.0
    cluster: int = 1
    correlation: float = 0.0
    rare: bool = False
    taste: float = TASTE

    def truth(self, worse: float) -> np.ndarray:
        """The expected metric of arms that are worse by `worse`, ``(arms,)``, over new seeds and examples."""
        return np.array([_truth(self, deviation, worse) for deviation in self.deviations])

    def study(self, worse: np.ndarray, rng: np.random.Generator) -> tuple[dict[str, Evidence], dict[str, float]]:
        """Evidence of arms that are worse by so much, ``(arms,)``, and what choices add to the variances of their means."""
        arms, units = len(self.deviations), -(-self.examples // self.cluster)
        documents = np.repeat(np.arange(units), self.cluster)[: self.examples]
        rights = self.rights(np.array(self.deviations)[:, None], worse[:, None], rng, (arms, self.seeds))
        odds = odds_of(rights, self.taste)

        def effect(shape: tuple[int, ...], deviation: float) -> np.ndarray:
            shared = rng.normal(size=(*shape, units))[..., documents] if self.correlation else 0.0
            alone = rng.normal(size=(*shape, self.examples))
            return deviation * (np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * alone)

        meaning = effect((), DIFFICULTY) + effect((arms, 1), self.taste) + effect((arms, self.seeds), CHANCE)
        right = rng.random(meaning.shape) < expit(odds[..., None] + meaning)
        clusters = documents if self.cluster > 1 else None
        if not self.rare:
            counts = np.stack([right, np.ones_like(right)], -1).astype(float)
            return {f"arm {i}": Evidence(counts[i], accuracy, clusters=clusters) for i in range(arms)}, {}
        positive = rng.random(self.examples) < POSITIVES
        false = ~positive & (rng.random(right.shape) < (POSITIVES * (1 - rights) / 2)[..., None])
        counts = np.stack([right & positive, false, ~right & positive], -1).astype(float)
        return {f"arm {i}": Evidence(counts[i], f1) for i in range(arms)}, {}

    def rights(self, deviation: np.ndarray, worse: np.ndarray, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """The share of right answers of each run."""
        found = self.mean - worse + deviation * SEED_EFFECTS[self.effects](rng, shape)
        found = np.where(rng.random(shape) < self.collapsing, (self.mean - worse) / 2, found)
        return np.clip(found, 0.02, 0.999)


@lru_cache
def _truth(world: World, deviation: float, worse: float) -> float:
    rights = world.rights(np.array(deviation), np.array(worse), np.random.default_rng(0), (400_000,))
    metric = 2 * rights / (2 * rights + 1.5 * (1 - rights)) if world.rare else rights
    return float(metric.mean())


def odds_of(rights: np.ndarray, taste: float) -> np.ndarray:
    """The log odds of an example of mean difficulty, for runs with these shares of right answers."""
    return np.interp(rights, _shares(taste), ODDS)


@lru_cache
def _shares(taste: float) -> np.ndarray:
    """The share of right answers for each of `ODDS`."""
    spread = np.sqrt(DIFFICULTY**2 + taste**2 + CHANCE**2)
    return expit(ODDS[:, None] + spread * NODES) @ WEIGHTS


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Share of right answers."""
    return sums[..., 0] / sums[..., 1]


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 of true positives, false positives and misses."""
    hits, false, missed = np.moveaxis(sums, -1, 0)
    return 2 * hits / np.maximum(2 * hits + false + missed, 1)
