"""Statistics of studies against SciPy, statsmodels and worked examples, and on simulated arms whose truth is known."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from ftlit.errors import UserError
from ftlit.study.statistics import variances
from ftlit.study.statistics.compare import Comparison, analyse, compare, estimate
from ftlit.study.statistics.errors import Errors
from ftlit.study.statistics.intervals import of_differences, wilson
from ftlit.study.statistics.models import approximate_randomisation, mcnemar
from ftlit.study.statistics.multiplicity import adjust
from ftlit.study.statistics.runs import Evidence, covariance, per_seed
from ftlit.study.statistics.seed_blocks import within_seeds


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def f1(sums: np.ndarray) -> np.ndarray:
    return 2 * sums[..., 0] / np.maximum(2 * sums[..., 0] + sums[..., 1] + sums[..., 2], 1)


def mean_of(values: np.ndarray, seeds: tuple[int, ...] = ()) -> Evidence:
    """Evidence of a mean over examples, ``(seeds, examples)``."""
    values = np.atleast_2d(values).astype(float)
    return Evidence(np.stack([values, np.ones_like(values)], -1), mean, seeds)


def right_answers(seed: int, *shares: float, seeds: int = 1, examples: int = 200) -> dict[str, Evidence]:
    """Accuracies of arms named a, b, … on examples of which some are harder for all."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.2, examples)
    return {
        name: mean_of(rng.random((seeds, examples)) < share + hard + rng.normal(0, 0.03, (seeds, 1)))
        for name, share in zip("abcdef", shares, strict=False)
    }


def spans(seed: int, *shares: float, seeds: int = 1, examples: int = 200) -> dict[str, Evidence]:
    """The same for F1 of entities."""
    rng = np.random.default_rng(seed)
    entities = rng.poisson(1, examples)
    arms = {}
    for name, share in zip("abcdef", shares, strict=False):
        hits = rng.binomial(entities, share, (seeds, examples))
        arms[name] = Evidence(np.stack([hits, rng.poisson(0.3, hits.shape), entities - hits], -1), f1)
    return arms


def comparison(arms: dict[str, Evidence]) -> Comparison:
    """Of the arms a and b."""
    return compare(arms, [("a", "b")])[0]


# What examples contribute


@pytest.mark.parametrize("kind", [right_answers, spans])
def test_covariances_of_runs_are_those_of_their_examples(kind: type) -> None:
    """For means in closed form, for F1 as the bootstrap has them."""
    arms = kind(0, 0.8, 0.7, seeds=3)
    common, own = covariance(list(arms.values()))
    a, b = arms["a"], arms["b"]
    if kind is right_answers:
        between = np.cov(np.concatenate([a.counts[..., 0], b.counts[..., 0]])) / 200
    else:
        rng, drawn = np.random.default_rng(1), []
        for _ in range(4000):
            rows = rng.integers(200, size=200)
            drawn.append([f1(arm.counts[:, rows].sum(axis=1)) for arm in (a, b)])
        between = np.cov(np.array(drawn).reshape(4000, 6).T)
    tolerance = {"rel": 1e-6} if kind is right_answers else {"rel": 0.1, "abs": 3e-5}
    assert common[0, 1] == pytest.approx(between[:3, 3:].mean(), **tolerance)
    within = between[:3, :3]
    alike = (within.sum() - np.trace(within)) / 6
    assert common[0, 0] == pytest.approx(alike, **tolerance)
    assert own[0] == pytest.approx(np.trace(within) / 3 - alike, **tolerance)


def test_clusters_are_drawn_whole() -> None:
    """Twice the same examples say no more than once, if they are of the same documents."""
    once = right_answers(2, 0.8, 0.7, seeds=3)
    documents = np.tile(np.arange(200), 2)
    twice = {
        name: Evidence(np.concatenate([arm.counts] * 2, axis=1), arm.score, clusters=documents) for name, arm in once.items()
    }
    alone, copied = (analyse(arms, [[("a", "b")]]) for arms in (once, twice))
    assert copied.comparisons[0].error == pytest.approx(alone.comparisons[0].error)
    assert copied.estimates["a"].error == pytest.approx(alone.estimates["a"].error)
    single = {name: arm.at(0) for name, arm in twice.items()}
    assert comparison(single).test == "approximate randomisation"
    assert comparison(single).p == pytest.approx(comparison({name: arm.at(0) for name, arm in once.items()}).p, abs=0.1)


# What seeds contribute


def test_one_arm_alone_has_student_s_t() -> None:
    values = [0.31, 0.42, 0.29, 0.38]
    alone = estimate(per_seed(values))
    assert alone.deviation == pytest.approx(np.std(values, ddof=1))
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (alone.low, alone.high) == pytest.approx(expected, abs=0.03 * (expected[1] - expected[0]))


def test_with_known_variation_of_the_arms_it_is_the_moderated_t_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Smyth (2004): a variance between the arm's own and that of all, with the degrees of freedom of both."""
    monkeypatch.setattr(variances, "FREEDOM", np.array([8.0]))
    monkeypatch.setattr(variances, "VARIANCES", 400)
    monkeypatch.setattr(variances, "SCALES", 400)
    rng, freedom = np.random.default_rng(3), 2
    observed = 0.01 * 8 / rng.chisquare(8, 2000) * rng.chisquare(freedom, 2000) / freedom
    observed[0] = 0.04
    found = variances.moderated(observed, np.full(2000, freedom), np.zeros(2000))
    assert found is not None
    errors = Errors(found.grid[None], found.weights[:1])
    moderated = (8 * 0.01 + freedom * 0.04) / (8 + freedom)
    for level in (0.05, 0.001):
        expected = stats.t.isf(level / 2, 8 + freedom) * np.sqrt(moderated)
        assert errors.reach(level)[0] == pytest.approx(expected, rel=0.03)
        assert errors.p_value(np.array([expected]))[0] == pytest.approx(level, rel=0.2)


def test_alike_arms_lend_each_other_degrees_of_freedom_and_unlike_ones_do_not() -> None:
    rng = np.random.default_rng(4)
    seen = 0.01 * rng.chisquare(4, 30) / 4
    alike, unlike = (
        variances.moderated(values, np.full(30, 4), np.zeros(30)) for values in (seen, seen * np.exp(2 * rng.normal(size=30)))
    )
    assert alike is not None
    assert unlike is not None
    assert alike.freedom > 10 > 3 > unlike.freedom


def test_no_variance_is_below_what_examples_give_to_a_run() -> None:
    """Seeds may agree entirely, by chance."""
    found = variances.moderated(np.array([0.0, 0.02, 0.03]), np.full(3, 2), np.full(3, 0.01))
    assert found is not None
    assert found.weights[:, found.grid < 0.01].sum() == 0
    assert (found.typical >= 0.01).all()


def test_seeds_that_share_something_are_compared_within_seeds() -> None:
    rng = np.random.default_rng(5)
    shared, shifts = rng.normal(0, 0.1, 6), dict(zip("abcde", (0.03, 0, 0, 0, 0), strict=True))
    arms = {name: per_seed(shift + shared + rng.normal(0, 0.01, 6)) for name, shift in shifts.items()}
    found = comparison(arms)
    assert found.different
    assert found.error < 0.02
    assert analyse(arms, []).estimates["a"].error > 0.03  # on new seeds, arms still vary
    order = [3, 5, 0, 1, 4, 2]
    turned = {**arms, "b": per_seed(arms["b"].scores[order], tuple(order))}  # the same runs in another order
    assert comparison(turned).error == pytest.approx(found.error)
    mixed = {name: per_seed(rng.permutation(arm.scores)) for name, arm in arms.items()}
    assert comparison(mixed).error > 0.03


def test_what_seeds_share_is_that_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(6)
    table = rng.normal(size=(4, 5)) + 3 * rng.normal(size=5)
    kept, cost = within_seeds(list(table), np.ones(4))
    rest = table - table.mean(axis=1, keepdims=True)
    effects = rest.mean(axis=0)
    ratio = (4 * (effects**2).sum() / 4) / (((rest - effects) ** 2).sum() / 12)
    assert stats.f.sf(ratio, 4, 12) < 0.05
    assert cost == pytest.approx((1 - 1 / ratio) / 4)
    np.testing.assert_allclose(np.stack(kept), table - (1 - 1 / ratio) * effects)
    assert within_seeds(list(rng.normal(size=(4, 5))), np.ones(4))[1] == 0


# Intervals


@pytest.mark.parametrize("right", [0, 1, 5, 40, 99, 100])
def test_an_interval_of_a_share_is_wilson_s(right: int) -> None:
    share, z = right / 100, stats.norm.isf(0.025)
    reach = z * np.sqrt(share * (1 - share) / 100)
    low, high = wilson(np.array([share]), np.array([reach]), np.array([100]), 0.05, (0.0, 1.0))[:, 0]
    assert (low, high) == pytest.approx(proportion_confint(right, 100, method="wilson"), abs=1e-12)
    assert low < high


def test_intervals_of_differences_are_as_wide_as_they_should_and_end_at_the_bounds() -> None:
    one, other = np.array([[0.03], [0.01]]), np.array([[0.02], [0.03]])
    low, high = of_differences(np.array([0.1]), np.array([0.04]), one, other, (0.0, 1.0))[:, 0]
    assert high - low == pytest.approx(0.08)
    assert high - 0.1 < 0.1 - low
    low, high = of_differences(np.array([0.0]), np.array([0.0]), one, other, (0.0, 1.0))[:, 0]
    assert low < 0 < high
    low, high = of_differences(np.array([0.99]), np.array([0.3]), one, other, (0.0, 1.0))[:, 0]
    assert high == 1


def test_perfect_arms_have_intervals_of_some_width() -> None:
    found = analyse({name: mean_of(np.ones((3, 50))) for name in "ab"}, [[("a", "b")]], bounds=(0.0, 1.0))
    assert 0.9 < found.estimates["a"].low < found.estimates["a"].high == pytest.approx(1)
    assert found.comparisons[0].low < 0 < found.comparisons[0].high
    assert (found.comparisons[0].p, found.comparisons[0].different) == (1, False)


# Verdicts


def test_a_small_difference_is_equivalent_within_a_margin() -> None:
    arms = right_answers(7, 0.7, 0.7, 0.4, seeds=5, examples=4000)
    pairs = [[("a", "b"), ("a", "c")]]
    same, other = analyse(arms, pairs, margin=0.1).comparisons
    assert (same.equivalent, same.different) == (True, False)
    assert (other.equivalent, other.different) == (False, True)
    assert analyse(arms, pairs, margin=1e-4).comparisons[0].equivalent is False
    assert analyse(arms, pairs).comparisons[0].equivalent is None


def test_an_arm_with_which_all_are_compared_borrows_less_from_the_others() -> None:
    rng = np.random.default_rng(0)
    arms = {name: per_seed(0.8 + 0.02 * rng.normal(size=3)) for name in "abcdef"} | {"g": per_seed([0.7, 0.8, 0.9])}
    baseline, every = [(name, "g") for name in "abcdef"], list(combinations("abcdefg", 2))
    families = analyse(arms, [baseline, every]).comparisons
    asked, among_all = families[:6], {(one.arm, one.other): one for one in families[6:]}
    for one in asked:
        other = among_all[one.arm, one.other]
        assert one.high - one.low > 1.02 * (other.high - other.low)
        assert one.p > other.p


def test_the_seeds_needed_have_the_power_that_was_asked_for() -> None:
    arms = {"a": per_seed([0.1, 0.3, 0.2, 0.0, 0.15, 0.25]), "b": per_seed([0.12, 0.22, 0.05, 0.02, 0.2, 0.09])}
    found = comparison(arms)
    deviation = np.hypot(*analyse(arms, []).moderated.values())
    power = stats.norm.cdf(found.difference * np.sqrt(found.seeds_needed) / deviation - stats.norm.isf(0.025))
    assert 0.8 <= power < 0.82
    same = np.tile(np.random.default_rng(0).random(60) < 0.5, (3, 1))
    few = {"a": mean_of(same), "b": mean_of(np.where(np.arange(60) < 2, 1 - same, same))}
    assert comparison(few).seeds_needed == np.inf  # the examples decide


def test_two_seeds_decide_nothing() -> None:
    arms = right_answers(8, 0.95, 0.4, seeds=2, examples=2000)
    found = analyse(arms, [[("a", "b")]], margin=0.9).comparisons[0]
    assert found.p_adjusted < 0.2
    assert (found.different, found.equivalent) == (False, False)


def test_families_are_corrected_by_themselves() -> None:
    arms = right_answers(9, 0.9, 0.75, 0.7, 0.7, seeds=3)
    against, everything = [(name, "a") for name in "bcd"], list(combinations("abcd", 2))
    found = analyse(arms, [against, everything]).comparisons
    for family, pairs in (("primary", against), ("secondary", everything)):
        own = [one for one in found if one.family == family]
        assert [one.p_adjusted for one in own] == pytest.approx(adjust([one.p for one in own], "holm", len(pairs) == 6))
        assert [one.different for one in own] == [one.p_adjusted <= 0.05 for one in own]


# Single models


@pytest.mark.parametrize("table", [(150, 3, 12, 35), (10, 0, 5, 0), (5, 4, 4, 5), (9, 0, 0, 1), (0, 90, 60, 0)])
def test_mcnemar_is_statsmodels(table: tuple[int, int, int, int]) -> None:
    a, b = (np.repeat(right, table) for right in ((1, 1, 0, 0), (1, 0, 1, 0)))
    expected = reference_mcnemar(np.reshape(table, (2, 2)), exact=True).pvalue
    assert mcnemar(a, b) == pytest.approx(expected)
    assert mcnemar(b, a) == pytest.approx(expected)
    found = comparison({"a": mean_of(a), "b": mean_of(b)})
    assert found.p == pytest.approx(expected)
    assert found.test == "McNemar"


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25])
def test_approximate_randomisation_is_scipy_s(shift: float) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(shift, 1, 60), rng.normal(0, 1, 60)

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return abs(x.mean(axis) - y.mean(axis))

    settings = {"permutation_type": "samples", "alternative": "greater", "n_resamples": 20_000, "rng": 5}
    expected = stats.permutation_test((a, b), difference, **settings).pvalue
    assert approximate_randomisation(mean_of(a), mean_of(b), draws=20_000) == pytest.approx(expected, abs=0.012)
    assert comparison({"a": mean_of(a), "b": mean_of(b)}).test == "approximate randomisation"


def test_randomisation_swaps_whole_examples() -> None:
    # All of a model's hits lie in one example: its tokens cannot say more than that example.
    many = np.zeros((1, 20, 3))
    many[0, :, 2], many[0, 0] = 1, (500, 0, 0)
    few = many.copy()
    few[0, 0] = (0, 0, 500)
    assert approximate_randomisation(Evidence(many, f1), Evidence(few, f1)) == 1


def test_a_small_p_is_not_bounded_by_the_number_of_shuffles() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.6, 1, 200), rng.normal(0, 1, 200)
    found = approximate_randomisation(mean_of(a), mean_of(b), draws=2000)
    assert np.log10(found) == pytest.approx(np.log10(stats.ttest_rel(a, b).pvalue), rel=0.1)
    assert found < 1e-6


# What must not matter


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("kind", [right_answers, spans])
def test_identical_predictions(seeds: int, kind: type) -> None:
    arm = kind(8, 0.7, seeds=seeds)["a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = comparison({"a": arm, "b": Evidence(arm.counts.copy(), arm.score)})
    assert (found.difference, found.p, found.p_adjusted) == (0, 1, 1)
    assert found.low <= 0 <= found.high
    assert not found.different


def test_one_seed_without_examples_says_nothing() -> None:
    found = comparison({"a": per_seed([0.3]), "b": per_seed([0.9])})
    assert (found.p, found.test, found.seeds_needed) == (1, "none", np.inf)
    assert np.isnan([found.low, found.high, estimate(per_seed([0.3])).low]).all()


@pytest.mark.parametrize("kind", [right_answers, spans])
@pytest.mark.parametrize("seeds", [1, 4])
def test_the_order_of_arms_does_not_matter(kind: type, seeds: int) -> None:
    arms = kind(10, 0.8, 0.7, 0.6, seeds=seeds)
    ahead = compare(arms, [("a", "b"), ("b", "c")])[0]
    back = compare(dict(reversed(arms.items())), [("b", "c"), ("b", "a")])[1]
    assert back.difference == pytest.approx(-ahead.difference)
    assert (back.low, back.high) == pytest.approx((-ahead.high, -ahead.low))
    assert (back.error, back.seeds_needed) == pytest.approx((ahead.error, ahead.seeds_needed))
    assert back.p == pytest.approx(ahead.p, rel=0.2)


@pytest.mark.parametrize("seeds", [1, 4])
def test_neither_the_order_of_examples_nor_one_that_adds_nothing_matters(seeds: int) -> None:
    arms = spans(11, 0.75, 0.65, seeds=seeds)
    order = np.random.default_rng(0).permutation(200)
    mixed = {name: Evidence(arm.counts[:, order], f1) for name, arm in arms.items()}
    empty = {name: Evidence(np.concatenate([arm.counts, 0 * arm.counts[:, :1]], axis=1), f1) for name, arm in arms.items()}
    found, *others = (comparison(one) for one in (arms, mixed, empty))
    for other in others:
        assert other.difference == pytest.approx(found.difference)
        assert (other.error, other.low, other.high) == pytest.approx((found.error, found.low, found.high), rel=0.03, abs=1e-3)
        assert other.p == pytest.approx(found.p, abs=0.03)


def test_all_seeds_of_both_arms_count() -> None:
    arms = right_answers(12, 0.8, 0.7, seeds=5)
    a, b = (arms[name].counts for name in "ab")
    some = {"a": Evidence(a[:4], mean, (4, 0, 2, 1)), "b": Evidence(b[:3], mean, (7, 8, 9))}
    found = comparison(some)
    assert found.seeds == 3
    assert found.difference == pytest.approx(some["a"].scores.mean() - some["b"].scores.mean())
    single = comparison({"a": some["a"], "b": Evidence(b[:1], mean, (2,))})
    assert (single.seeds, single.test) == (1, "McNemar")
    assert single.p == mcnemar(a[2, :, 0], b[0, :, 0])  # the run with the same seed


def test_examples_without_which_there_is_no_value_are_left_out() -> None:
    rng = np.random.default_rng(13)
    said = rng.normal(0, 1, (3, 30))

    def undefined(sums: np.ndarray) -> np.ndarray:
        return np.where(sums[..., 1] > 1, sums[..., 0] / 30, np.nan)

    odd = np.stack([said, np.broadcast_to(np.arange(30) < 4, said.shape)], -1)
    found = comparison({"a": Evidence(odd, undefined), "b": mean_of(0 * said)})
    assert np.isfinite([found.low, found.high, found.p]).all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_metric_without_a_value_says_nothing_and_spoils_nothing(seeds: int) -> None:
    arms = right_answers(18, 0.9, 0.5, seeds=seeds)
    arms["odd"] = Evidence(arms["a"].counts, lambda sums: np.full(sums.shape[:-1], np.nan))
    found, odd = compare(arms, [("a", "b"), ("a", "odd")])
    assert found.different
    assert np.isnan([odd.difference, odd.low, odd.high]).all()
    assert (odd.p, odd.p_adjusted, odd.different) == (1, 1, False)


def test_errors_name_the_arms() -> None:
    arms = {**right_answers(14, 0.8, 0.7), "short": right_answers(0, 0.8, examples=90)["a"]}
    with pytest.raises(UserError, match=r"'a' and 'short' have 200 and 90 examples; .* evaluate both on the same data"):
        compare(arms, [("a", "b"), ("a", "short")])
    with pytest.raises(UserError, match=r"names the arm 'shrt', which does not exist. Did you mean 'short'\?"):
        compare(arms, [("a", "shrt")])
    assert compare(arms, []) == []


@pytest.mark.parametrize("kind", [right_answers, spans])
def test_alike_arms_are_seldom_told_apart(kind: type) -> None:
    """150 studies of three alike arms, three seeds: false verdicts at most 5%, intervals near 95%; binomial bounds."""
    false, held, shares = 0, 0, (0.7, 0.7, 0.7)
    for seed in range(150):
        found = compare(kind(seed, *shares, seeds=3, examples=100), [("a", "b"), ("a", "c"), ("b", "c")])
        false += any(one.different for one in found)
        held += found[0].low <= 0 <= found[0].high
    assert false <= stats.binom.ppf(0.999, 150, 0.05)
    assert held >= stats.binom.ppf(0.001, 150, 0.95)


def test_a_large_difference_is_found() -> None:
    found = comparison(right_answers(16, 0.9, 0.6, seeds=3))
    assert found.different
    assert found.test == "moderated t over seeds and examples"
    assert found.difference > found.error > 0


@pytest.mark.slow
def test_two_unlike_arms_are_seldom_told_apart() -> None:
    """500 studies of two arms with five seeds, whose deviations are as 1 to 5, as in Welch's test."""
    rng, false = np.random.default_rng(19), 0
    for _ in range(500):
        arms = {name: per_seed(rng.normal(0, scale, 5)) for name, scale in (("a", 1.0), ("b", 5.0))}
        false += comparison(arms).different
    assert false <= stats.binom.ppf(0.999, 500, 0.05)
