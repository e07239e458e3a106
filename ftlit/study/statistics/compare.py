"""Means over seeds with their intervals, and the arms of a study that differ.

With several seeds, conclusions are about methods: they hold for new seeds and new examples (see `Uncertainty`). With one
seed, they are about the two trained models: McNemar's exact test if predictions are right or wrong, else approximate
randomisation, and the bootstrap over examples for intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ftlit.errors import UserError, near
from ftlit.study.statistics.multiplicity import Correction, adjust, groups
from ftlit.study.statistics.resampling import (
    Evidence,
    Score,
    approximate_randomisation,
    mcnemar,
    per_seed,
    randomisation_p,
    resampled_scores,
    shuffled_differences,
)
from ftlit.study.statistics.uncertainty import uncertainty

__all__ = [
    "Comparison",
    "Correction",
    "Estimate",
    "Evidence",
    "Score",
    "adjust",
    "approximate_randomisation",
    "compare",
    "estimate",
    "groups",
    "mcnemar",
    "per_seed",
]

Pair = tuple[str, str]
Test = Literal["bootstrap over seeds and examples", "paired t over seeds", "McNemar", "approximate randomisation", "none"]


@dataclass(frozen=True)
class Estimate:
    """The metric of an arm.

    Attributes:
        mean: Mean over seeds.
        deviation: Standard deviation over seeds; NaN for one seed.
        low: Lower end of the confidence interval; NaN for one seed without examples.
        high: Upper end of the confidence interval.
        seeds: Number of seeds.
        error: Standard error of the mean over seeds and examples.
    """

    mean: float
    deviation: float
    low: float
    high: float
    seeds: int
    error: float


@dataclass(frozen=True)
class Comparison:
    """The difference of two arms over the seeds that both have.

    Attributes:
        arm: The first arm.
        other: The second arm, whose metric is subtracted.
        difference: Mean difference over seeds.
        low: Lower end of the confidence interval of the difference, not adjusted for multiple comparisons.
        high: Upper end of the confidence interval.
        p: The p-value of the difference; 1 if it cannot be tested.
        p_adjusted: The p-value, adjusted for all comparisons.
        different: Whether the adjusted p-value is at most the level.
        detectable: The smallest true difference that such a design detects with a power of 80%, at the level divided by the
            number of comparisons, which is the strictest level of either correction.
        test: The test behind `p`.
        seeds: Number of seeds that both arms have.
        error: Standard error of the difference.
    """

    arm: str
    other: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    different: bool
    detectable: float
    test: Test
    seeds: int
    error: float


def estimate(evidence: Evidence, level: float = 0.05, draws: int = 2000, seed: int = 0) -> Estimate:
    """Estimate the metric of an arm on new seeds and examples, with a confidence interval.

    Args:
        evidence: The evidence of the arm.
        level: One minus the confidence level: 0.05 for intervals of 95%.
        draws: Number of resamples of the examples.
        seed: Seed of the resamples.
    """
    values = evidence.scores
    known = uncertainty([(values, resampled_scores({0: evidence}, draws, seed)[0])])
    mean, error = float(values.mean()), float(known.error[0])
    reach = error * float(known.quantile(level)[0])
    deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Estimate(mean, deviation, mean - reach, mean + reach, len(values), error)


def compare(
    arms: Mapping[str, Evidence],
    pairs: Sequence[Pair],
    level: float = 0.05,
    correction: Correction = "holm",
    draws: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare pairs of arms.

    Args:
        arms: Evidence of each arm. The arms of a pair have the same examples in the same order.
        pairs: Pairs of arms to compare; the metric of the second one is subtracted.
        level: Significance level of the tests, and one minus the confidence level of the intervals.
        correction: Correction for multiple comparisons: ``holm`` or ``bh``.
        draws: Number of bootstrap resamples, and of random swaps.
        seed: Seed of the resamples and swaps.

    Returns:
        A comparison for each pair, in the order of `pairs`.

    Raises:
        UserError: A pair names an unknown arm, or its arms have no seed in common or different examples.
    """
    if not pairs:
        return []
    common = [_common_seeds(arms, pair) for pair in pairs]
    scores = {name: arms[name].scores for pair in pairs for name in pair}
    drawn = resampled_scores({name: arms[name] for name in scores}, draws, seed)
    means = np.array([_difference(scores, arms, *which).mean() for which in zip(pairs, common, strict=True)])
    known = uncertainty(
        (_difference(scores, arms, *which), _difference(drawn, arms, *which)) for which in zip(pairs, common, strict=True)
    )
    tests = [_test(arms, pair, seeds) for pair, seeds in zip(pairs, common, strict=True)]
    p_values = known.p_value(means)
    for i, p in _tests_of_models(arms, pairs, common, tests, draws, seed).items():
        p_values[i] = p
    adjusted = adjust(p_values.tolist(), correction)
    reach, detectable = known.error * known.quantile(level), known.detectable(level / len(pairs))
    return [
        Comparison(
            *pairs[i], float(means[i]), float(means[i] - reach[i]), float(means[i] + reach[i]), float(p_values[i]), adjusted[i],
            adjusted[i] <= level, float(detectable[i]), tests[i], len(common[i]), float(known.error[i]),
        )
        for i in range(len(pairs))
    ]  # fmt: skip


def _common_seeds(arms: Mapping[str, Evidence], pair: Pair) -> list[int]:
    for name in pair:
        if name not in arms:
            raise UserError(f"a comparison names the arm {name!r}, which does not exist. {near(name, arms)}")
    one, other = (arms[name] for name in pair)
    if one.examples != other.examples:
        raise UserError(
            f"the arms {pair[0]!r} and {pair[1]!r} have {one.examples} and {other.examples} examples; only predictions for the "
            "same examples can be compared, so evaluate both on the same data"
        )
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    if not seeds:
        raise UserError(
            f"the arms {pair[0]!r} and {pair[1]!r} have no seed in common ({_listed(one)}, and {_listed(other)}); arms are "
            "compared over the seeds that both have"
        )
    return seeds


def _listed(evidence: Evidence) -> str:
    return " ".join(map(str, evidence.seeds)) or "none"


def _difference(scores: Mapping[str, np.ndarray], arms: Mapping[str, Evidence], pair: Pair, seeds: Sequence[int]) -> np.ndarray:
    """The difference of two arms' scores on some of their seeds, ``(..., seeds)``."""
    one, other = (scores[name][..., arms[name].places(seeds)] for name in pair)
    return one - other


def _test(arms: Mapping[str, Evidence], pair: Pair, seeds: list[int]) -> Test:
    """The test for a pair: with one seed it compares two models, else two methods."""
    one, other = (arms[name] for name in pair)
    if one.examples == 1:
        return "paired t over seeds" if len(seeds) > 1 else "none"
    if len(seeds) > 1:
        return "bootstrap over seeds and examples"
    return "McNemar" if one.right_or_wrong and other.right_or_wrong else "approximate randomisation"


def _tests_of_models(
    arms: Mapping[str, Evidence],
    pairs: Sequence[Pair],
    common: Sequence[list[int]],
    tests: Sequence[Test],
    draws: int,
    seed: int,
) -> dict[int, float]:
    """The p-values of pairs with one seed, by index of the pair."""
    models = {
        i: (arms[one].at(common[i][0]), arms[other].at(common[i][0]))
        for i, (one, other) in enumerate(pairs)
        if tests[i] in ("McNemar", "approximate randomisation")
    }
    found = {
        i: mcnemar(one.counts[0, :, 0], other.counts[0, :, 0]) for i, (one, other) in models.items() if tests[i] == "McNemar"
    }
    rest = {i: pair for i, pair in models.items() if i not in found}
    for i, shuffled in shuffled_differences(rest, draws, seed).items():
        one, other = rest[i]
        found[i] = randomisation_p(float((one.scores - other.scores).mean()), shuffled)
    return found
