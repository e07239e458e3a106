"""Means of arms with their intervals, and the arms of a study that differ.

With several seeds, conclusions are about methods: they hold for new seeds and new examples (see `Pool`). With one seed, they
are about the two trained models: McNemar's exact test if predictions are right or wrong, else approximate randomisation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ftlit.errors import UserError, near
from ftlit.study.plan.seeds import FEWEST
from ftlit.study.statistics.intervals import of_differences, wilson
from ftlit.study.statistics.models import mcnemar, randomisation_p, shuffled_differences
from ftlit.study.statistics.multiplicity import Correction, Pair, adjust, is_all_pairs
from ftlit.study.statistics.pool import Pool, pools
from ftlit.study.statistics.runs import Evidence
from ftlit.study.statistics.verdicts import Family, seeds_needed

Test = Literal["moderated t over seeds and examples", "moderated t over seeds", "McNemar", "approximate randomisation", "none"]

UNBOUNDED = (-np.inf, np.inf)


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
    """The difference of two arms.

    Attributes:
        arm: The first arm.
        other: The second arm, whose metric is subtracted.
        difference: Difference of the means over seeds.
        low: Lower end of the confidence interval of the difference, not adjusted for multiple comparisons.
        high: Upper end of the confidence interval.
        p: The p-value of the difference; 1 if it cannot be tested.
        p_adjusted: The p-value, adjusted for all comparisons of its family.
        different: Whether the adjusted p-value is at most the level, with three or more seeds of both arms or one of each.
        equivalent: Whether the difference lies within the margin, by two one-sided tests that are adjusted likewise
            (Schuirmann, 1987); None without a margin.
        seeds_needed: Number of seeds of each arm with which the verdict would be reached with a power of 80%, if the true
            difference is the one that was found; infinite if only more examples can decide.
        test: The test behind `p`.
        seeds: Number of seeds of the arm that has fewer.
        error: Standard error of the difference.
        family: Whether the study asked for this comparison first (`primary`), or it is one of many more (`secondary`).
    """

    arm: str
    other: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    different: bool
    equivalent: bool | None
    seeds_needed: float
    test: Test
    seeds: int
    error: float
    family: Family = "primary"


@dataclass(frozen=True)
class Analysis:
    """What a study says.

    Attributes:
        estimates: The metric of each arm.
        comparisons: The comparisons of all families, one after the other.
        freedom: The degrees of freedom that the arms together add to the variance of each, for each group of arms on the same
            examples that has several seeds.
        moderated: The deviation over seeds of each arm as all arms together suggest, where this is known.
    """

    estimates: dict[str, Estimate]
    comparisons: list[Comparison]
    freedom: list[float]
    moderated: dict[str, float]


def analyse(
    arms: Mapping[str, Evidence],
    families: Sequence[Sequence[Pair]],
    *,
    level: float = 0.05,
    correction: Correction = "holm",
    margin: float | None = None,
    bounds: tuple[float, float] = UNBOUNDED,
    data: Mapping[str, str] | None = None,
    added: Mapping[str, float] | None = None,
    interval_level: Callable[[Sequence[str]], float] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Analysis:
    """Estimate the metric of every arm of a study, and compare arms.

    Args:
        arms: Evidence of each arm. The arms of a pair have the same examples in the same order.
        families: Pairs of arms to compare, of which the metric of the second one is subtracted. Each family has its own
            correction; the first is the primary one.
        level: Significance level of the tests, and one minus the confidence level of the intervals.
        correction: Correction for multiple comparisons: ``holm`` or ``bh``.
        margin: A difference that does not matter; None if none is named.
        bounds: The least and the largest value of the metric.
        data: A name of the data on which each arm was evaluated, if there are several data sets.
        added: Variances of the arms' means that are known from elsewhere, such as that of choosing a setting.
        interval_level: The level of the interval of an arm, or of the difference of two, by their names; `level` by default.
        draws: Number of random swaps for arms with one seed.
        seed: Seed of the swaps.

    Raises:
        UserError: A pair names an unknown arm, or its arms have different examples.
    """
    for pair in (pair for family in families for pair in family):
        _check(arms, pair)
    known, level_of = pools(arms, data or {}, added or {}), interval_level or (lambda names: level)
    estimates: dict[str, Estimate] = {}
    ends: dict[str, np.ndarray] = {}
    for pool in known:
        _estimate(pool, np.array([level_of([name]) for name in pool.names]), bounds, estimates, ends)
    comparisons = []
    for i, family in enumerate(families):
        name: Family = "secondary" if i else "primary"
        settings = (level, np.array([level_of(pair) for pair in family]), correction, margin, bounds)
        comparisons += _family(arms, known, list(family), ends, settings, (draws, seed), name)
    ordered, deviations = {name: estimates[name] for name in arms}, dict[str, float]()
    for pool in known:
        deviations |= pool.deviations
    return Analysis(ordered, comparisons, [pool.runs.freedom for pool in known if pool.runs is not None], deviations)


def estimate(evidence: Evidence, level: float = 0.05, bounds: tuple[float, float] = UNBOUNDED) -> Estimate:
    """Estimate the metric of a single arm on new seeds and examples, with a confidence interval."""
    return analyse({"": evidence}, [], level=level, bounds=bounds).estimates[""]


def compare(
    arms: Mapping[str, Evidence], pairs: Sequence[Pair], level: float = 0.05, correction: Correction = "holm"
) -> list[Comparison]:
    """Compare pairs of arms, which are one family."""
    return analyse(arms, [pairs], level=level, correction=correction).comparisons


def _check(arms: Mapping[str, Evidence], pair: Pair) -> None:
    for name in pair:
        if name not in arms:
            raise UserError(f"a comparison names the arm {name!r}, which does not exist. {near(name, arms)}")
    one, other = (arms[name] for name in pair)
    if one.examples != other.examples:
        raise UserError(
            f"the arms {pair[0]!r} and {pair[1]!r} have {one.examples} and {other.examples} examples; only predictions for the "
            "same examples can be compared, so evaluate both on the same data"
        )


def _estimate(
    pool: Pool, levels: np.ndarray, bounds: tuple[float, float], estimates: dict[str, Estimate], ends: dict[str, np.ndarray]
) -> None:
    errors, means = pool.of_arms(), pool.means
    known = np.isfinite(means) & ((pool.sizes > 1) | (pool.units > 1))
    reach = np.where(known, errors.reach(levels), np.nan)
    low, high = np.where(np.isfinite(reach), wilson(means, reach, np.full(len(means), pool.units), levels, bounds), np.nan)
    for i, name in enumerate(pool.names):
        values = pool.scores[i]
        deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        mean, first, last = float(means[i]), float(low[i]), float(high[i])
        error = float(errors.error[i]) if known[i] else float("nan")
        estimates[name] = Estimate(mean, deviation, first, last, len(values), error)
        ends[name] = np.array([mean - first, last - mean])


def _hub(pairs: Sequence[Pair]) -> str | None:
    """The arm that all of several pairs of a family have in common, such as a baseline; None if there is none."""
    common = set.intersection(*map(set, pairs)) if len(pairs) > 1 else set[str]()
    return min(common, default=None)


def _family(
    arms: Mapping[str, Evidence],
    known: Sequence[Pool],
    pairs: list[Pair],
    ends: Mapping[str, np.ndarray],
    settings: tuple[float, np.ndarray, Correction, float | None, tuple[float, float]],
    resampling: tuple[int, int],
    name: Family,
) -> list[Comparison]:
    """The comparisons of a family."""
    if not pairs:
        return []
    level, levels, correction, margin, bounds = settings
    hub = _hub(pairs)
    found = np.full((6, len(pairs)), np.nan)  # difference, low, high, p, p of equivalence, error
    needed = np.full(len(pairs), np.inf)
    for pool in known:
        mine = [i for i, pair in enumerate(pairs) if pair[0] in pool.names]
        if not mine:
            continue
        one, other = (np.array([pool.names.index(pairs[i][side]) for i in mine]) for side in (0, 1))
        errors = pool.of_pairs(one, other, pool.names.index(hub) if hub in pool.names else None)
        difference = pool.means[one] - pool.means[other]
        sides = [np.stack([ends[pairs[i][side]] for i in mine], axis=1) for side in (0, 1)]
        low, high = of_differences(difference, errors.reach(levels[mine]), sides[0], sides[1], bounds)
        same = errors.above(margin - abs(difference)) if margin is not None else np.full(len(mine), np.nan)
        found[:, mine] = difference, low, high, errors.p_value(difference), same, errors.error
        needed[mine] = seeds_needed(pool, one, other, level / len(pairs), margin)
    tests = [_test(arms, pair) for pair in pairs]
    for i, p in _tests_of_models(arms, pairs, tests, *resampling).items():
        found[3, i] = p
    found[3:5] = np.nan_to_num(found[3:5], nan=1.0)
    adjusted, same_adjusted = (adjust(found[i].tolist(), correction, is_all_pairs(pairs)) for i in (3, 4))
    counts = [sorted(len(arms[arm].seeds) for arm in pair) for pair in pairs]
    trusted = [few >= FEWEST or many == 1 for few, many in counts]
    return [
        Comparison(
            *pairs[i], float(found[0, i]), float(found[1, i]), float(found[2, i]), float(found[3, i]), adjusted[i],
            trusted[i] and adjusted[i] <= level, None if margin is None else trusted[i] and same_adjusted[i] <= level,
            float(needed[i]), tests[i], counts[i][0], float(found[5, i]), name,
        )
        for i in range(len(pairs))
    ]  # fmt: skip


def _test(arms: Mapping[str, Evidence], pair: Pair) -> Test:
    """The test for a pair: with one seed it compares two models, else two methods."""
    one, other = (arms[name] for name in pair)
    several = min(len(one.seeds), len(other.seeds)) > 1
    if one.examples == 1:
        return "moderated t over seeds" if several else "none"
    if several:
        return "moderated t over seeds and examples"
    return "McNemar" if one.right_or_wrong and other.right_or_wrong else "approximate randomisation"


def _tests_of_models(
    arms: Mapping[str, Evidence], pairs: Sequence[Pair], tests: Sequence[Test], draws: int, seed: int
) -> dict[int, float]:
    """The p-values of pairs of which an arm has one seed, by index of the pair."""
    models = {i: _same_seed(*(arms[name] for name in pair)) for i, pair in enumerate(pairs) if "moderated" not in tests[i]}
    found = {i: 1.0 for i in models if tests[i] == "none"}
    found |= {
        i: mcnemar(one.counts[0, :, 0], other.counts[0, :, 0]) for i, (one, other) in models.items() if tests[i] == "McNemar"
    }
    rest = {i: pair for i, pair in models.items() if i not in found}
    for i, shuffled in shuffled_differences(rest, draws, seed).items():
        one, other = rest[i]
        found[i] = randomisation_p(float((one.scores - other.scores).mean()), shuffled)
    return found


def _same_seed(one: Evidence, other: Evidence) -> tuple[Evidence, Evidence]:
    """One run of each arm, with the same seed if both have it."""
    common = [seed for seed in one.seeds if seed in other.seeds]
    first, second = (common[0], common[0]) if common else (one.seeds[0], other.seeds[0])
    return one.at(first), other.at(second)
