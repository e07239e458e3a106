"""Arms on the same examples, whose variances are estimated together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftlit.study.statistics.errors import Errors, sum_of
from ftlit.study.statistics.runs import Evidence, covariance
from ftlit.study.statistics.seed_blocks import within_seeds
from ftlit.study.statistics.variances import Variances, moderated


@dataclass(frozen=True, eq=False)
class Pool:
    """What seeds and examples contribute to the metrics of arms, and to their differences.

    The metric of a run is the arm's true value, plus an effect of the sampled examples that the arm's runs have in common,
    plus an effect of the seed and of the examples on this run alone. The variance of the latter is that of the runs over seeds,
    which is known better from all arms together (`moderated`); that of the former comes from the examples (`covariance`), and
    may be common to arms, so that it matters less for their differences.

    Attributes:
        names: The arms.
        scores: The metric of each seed, ``(seeds,)`` for each arm.
        units: Number of independent examples or clusters; 1 if nothing is known about examples.
        common: Covariance that the examples give to two runs, by arms, ``(arms, arms)``.
        own: Variance that they give to one run beyond this, ``(arms,)``.
        runs: Variances over seeds of single runs, of the arms with several seeds; None if there is no variance.
        rest: The same within seeds, for differences over the same seeds.
        several: The arms with several seeds, which `runs` and `rest` are about.
        added: Variances of means that are known from elsewhere, such as that of choosing a setting, ``(arms,)``.
    """

    names: list[str]
    scores: list[np.ndarray]
    units: int
    common: np.ndarray
    own: np.ndarray
    runs: Variances | None
    rest: Variances | None
    several: list[int]
    added: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """The mean metric of each arm, ``(arms,)``."""
        return np.array([values.mean() for values in self.scores])

    @property
    def sizes(self) -> np.ndarray:
        """The number of seeds of each arm, ``(arms,)``."""
        return np.array([len(values) for values in self.scores])

    @property
    def deviations(self) -> dict[str, float]:
        """The typical deviation of an arm's runs over seeds, by the name of the arm, where there are several seeds."""
        if self.runs is None:
            return {}
        return {self.names[i]: float(value) for i, value in zip(self.several, np.sqrt(self.runs.typical), strict=True)}

    def of_arms(self) -> Errors:
        """The errors of the arms' means: for new seeds and examples, or of an arm with one seed for new examples."""
        places = np.arange(len(self.names))
        return self._errors(self.runs, places, None, self.common.diagonal())

    def of_pairs(self, one: np.ndarray, other: np.ndarray, hub: int | None = None) -> Errors:
        """The errors of the differences between arms.

        Args:
            one: Indices of the first arms, ``(pairs,)``.
            other: Indices of the second arms.
            hub: Index of an arm with which many others are compared.
        """
        diagonal = self.common.diagonal()
        examples = np.maximum(diagonal[one] + diagonal[other] - 2 * self.common[one, other], 0.0)
        return self._errors(self.rest, one, other, examples, hub)

    def variance_of_a_seed(self) -> np.ndarray:
        """The typical variance of each arm's runs, ``(arms,)``; NaN if unknown."""
        found = np.full(len(self.names), np.nan)
        if self.rest is not None:
            found[self.several] = self.rest.typical
        return found

    def _errors(
        self, known: Variances | None, one: np.ndarray, other: np.ndarray | None, examples: np.ndarray, hub: int | None = None
    ) -> Errors:
        grid = known.grid if known is not None else np.zeros(1)
        weights = np.full((len(self.names), len(grid)), np.nan if known is None and self.units == 1 else 0.0)
        weights[self.several] = known.weights if known is not None else weights[self.several] + 1.0
        if known is not None and hub in self.several:
            weights[hub] = known.cautious[self.several.index(hub)]
        sizes, alone = self.sizes.astype(float), np.setdiff1d(np.arange(len(self.names)), self.several)
        weights[alone, 0], sizes[alone] = 1.0, np.inf
        lone = np.where(np.isin(np.arange(len(self.names)), alone), self.own, 0.0)
        fixed = examples + lone[one] + self.added[one]
        nothing = np.zeros((len(one), len(grid)))
        nothing[:, 0] = 1.0
        seconds = (nothing, np.full(len(one), np.inf)) if other is None else (weights[other], sizes[other])
        if other is not None:
            fixed = fixed + lone[other] + self.added[other]
        return sum_of(grid, weights[one], seconds[0], np.stack([sizes[one], seconds[1]]), fixed, self.units)


def pools(arms: Mapping[str, Evidence], data: Mapping[str, str], added: Mapping[str, float]) -> list[Pool]:
    """Arms by the examples on which they were evaluated.

    Args:
        arms: The evidence of each arm.
        data: A name of the data of each arm, if there are several data sets.
        added: Variances of the arms' means that are known from elsewhere.
    """
    found: dict[tuple[str, int], list[str]] = {}
    for name, arm in arms.items():
        found.setdefault((data.get(name, ""), arm.examples), []).append(name)
    return [_pool(names, [arms[name] for name in names], added) for names in found.values()]


def _pool(names: list[str], arms: Sequence[Evidence], added: Mapping[str, float]) -> Pool:
    common, own = covariance(arms)
    scores = [arm.scores for arm in arms]
    several = [i for i, values in enumerate(scores) if len(values) > 1 and np.isfinite(values).all()]
    runs, rest = _over_seeds([scores[i] for i in several], own[several], [arms[i].seeds for i in several])
    more = np.array([added.get(name, 0.0) for name in names])
    return Pool(names, scores, arms[0].units.shape[1], common, own, runs, rest, several, more)


def _over_seeds(
    scores: Sequence[np.ndarray], own: np.ndarray, seeds: Sequence[tuple[int, ...]]
) -> tuple[Variances | None, Variances | None]:
    """The variances of runs over seeds, and within seeds if runs with the same seed have something in common."""
    if not scores:
        return None, None
    freedom = np.array([len(values) - 1.0 for values in scores])
    runs = moderated(np.array([values.var(ddof=1) for values in scores]), freedom, own)
    if runs is None or len({frozenset(some) for some in seeds}) > 1:
        return runs, runs
    ordered = [values[np.argsort(some)] for values, some in zip(scores, seeds, strict=True)]
    rest, cost = within_seeds(ordered, 1 / runs.typical)
    if not cost:
        return runs, runs
    fewer = freedom * (1 - cost)
    sums = np.array([((values - values.mean()) ** 2).sum() for values in rest])
    return runs, moderated(sums / fewer, fewer, own)
