"""Statistics of studies against SciPy, statsmodels and worked examples, and on simulated arms whose truth is known."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.power import TTestPower

from ftlit.errors import UserError
from ftlit.study.statistics.compare import (
    Comparison,
    Evidence,
    adjust,
    approximate_randomisation,
    compare,
    estimate,
    mcnemar,
    per_seed,
)
from ftlit.study.statistics.resampling import resampled_scores
from ftlit.study.statistics.uncertainty import Uncertainty, combine_variances


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


def comparison(arms: dict[str, Evidence], **settings: int) -> Comparison:
    """Of the arms a and b."""
    return compare(arms, [("a", "b")], **settings)[0]


def test_bootstrap_is_scipy_s() -> None:
    arms = right_answers(0, 0.8, 0.7)
    a, b = (arms[name].counts[0, :, 0] for name in "ab")
    reference = stats.bootstrap(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), paired=True, n_resamples=20_000, method="percentile", rng=1
    )
    found = comparison(arms, draws=20_000)
    assert found.error == pytest.approx(reference.standard_error, rel=0.02)
    assert found.error == pytest.approx((a - b).std() / np.sqrt(len(a)), rel=0.02)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval), abs=0.1 * found.error)


def test_weights_of_all_seeds_make_the_metric_of_drawn_examples() -> None:
    arms = spans(1, 0.8, 0.6, seeds=2, examples=30)
    drawn = resampled_scores(arms, draws=50, seed=3)
    chosen = np.random.default_rng(3).integers(30, size=(50, 30))
    for name, arm in arms.items():
        expected = [[f1(arm.counts[seed, rows].sum(axis=0)) for seed in range(2)] for rows in chosen]
        np.testing.assert_allclose(drawn[name], expected)


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


def test_without_examples_it_is_the_paired_t_test() -> None:
    a, b = [0.31, 0.42, 0.29, 0.38], [0.35, 0.41, 0.36, 0.44]
    found = comparison({"a": per_seed(a), "b": per_seed(b)})
    reference = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()))
    assert found.test == "paired t over seeds"
    alone = estimate(per_seed(a))
    assert alone.deviation == pytest.approx(np.std(a, ddof=1))
    assert (alone.low, alone.high) == pytest.approx(stats.t.interval(0.95, 3, np.mean(a), stats.sem(a)))


@pytest.mark.parametrize("seeds", [3, 4, 5, 10])
@pytest.mark.parametrize("own", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0, 4.0, 20.0])
def test_intervals_hold_the_truth_whatever_decides(seeds: int, own: float, ratio: float) -> None:
    """By quadrature over the spread of seeds: `own` of the examples' variance is each seed's, and seeds add `ratio` of it."""
    effect, common = (ratio * own, 1 - own) if own else (ratio, 1.0)
    nodes = (np.arange(2000) + 0.5) / 2000  # denser where seeds agree by chance
    spread, weights = stats.chi2.ppf(nodes**4, seeds - 1) / (seeds - 1), 4 * nodes**3
    error, share = combine_variances((own + effect) * spread, np.full_like(spread, own), np.full_like(spread, common))
    known = Uncertainty(error, share, np.full_like(spread, seeds - 1))
    truth = stats.norm(scale=np.sqrt(own + effect + common))

    def missed(level: float) -> float:
        return float(np.mean(weights * 2 * truth.sf(known.quantile(level) * error)))

    assert 0.033 < missed(0.05) < 0.052
    assert missed(0.05 / 6) < 1.02 * 0.05 / 6  # so that the level of Holm over several arms holds


def test_power_without_examples_is_that_of_the_t_test() -> None:
    a, b = np.array([0.31, 0.42, 0.29, 0.38, 0.40]), np.array([0.35, 0.41, 0.36, 0.44, 0.37])
    found = comparison({"a": per_seed(a), "b": per_seed(b)}).detectable
    assert TTestPower().power(found / np.std(a - b, ddof=1), 5, 0.05, alternative="larger") > 0.8
    assert TTestPower().power(found / np.std(a - b, ddof=1), 5, 0.025, alternative="larger") == pytest.approx(0.8, abs=1e-3)


def test_seeds_that_differ_and_seeds_that_agree() -> None:
    """The error is that of seeds where examples say nothing, and that of examples where seeds say the same."""
    rng = np.random.default_rng(7)
    example = rng.normal(0, 1, 500)
    same = {"a": mean_of(np.tile(example, (4, 1))), "b": mean_of(np.zeros((4, 500)))}
    assert comparison(same).error == pytest.approx(example.std() / np.sqrt(500), rel=0.05)
    effects = np.array([0.1, 0.5, -0.3, 0.2])
    other = {"a": mean_of(np.tile(effects[:, None], (1, 500))), "b": mean_of(np.zeros((4, 500)))}
    assert comparison(other).error == pytest.approx(stats.sem(effects))
    both = {"a": mean_of(effects[:, None] + example), "b": mean_of(np.zeros((4, 500)))}
    assert comparison(both).error == pytest.approx(np.hypot(stats.sem(effects), example.std() / np.sqrt(500)), rel=0.05)


def test_equal_differences_of_all_seeds_are_no_certainty() -> None:
    """Three seeds that agree by chance, each by other examples."""
    a, b = np.ones((3, 50)), np.ones((3, 50))
    for seed in range(3):
        b[seed, 5 * seed : 5 * seed + 2] = 0
    found = comparison({"a": mean_of(a), "b": mean_of(b)})
    assert found.difference == pytest.approx(0.04)
    assert found.error > 0.008
    assert found.p > 1e-7


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("kind", [right_answers, spans])
def test_identical_predictions(seeds: int, kind: type) -> None:
    arm = kind(8, 0.7, seeds=seeds)["a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = comparison({"a": arm, "b": Evidence(arm.counts.copy(), arm.score)})
    assert (found.difference, found.low, found.high, found.p, found.p_adjusted) == (0, 0, 0, 1, 1)
    assert not found.different
    assert found.detectable == 0


def test_one_seed_without_examples_says_nothing() -> None:
    found = comparison({"a": per_seed([0.3]), "b": per_seed([0.9])})
    assert (found.p, found.test, found.detectable) == (1, "none", np.inf)
    assert np.isnan([found.low, found.high, estimate(per_seed([0.3])).low]).all()


def test_all_comparisons_are_corrected_together() -> None:
    arms = right_answers(9, 0.9, 0.75, 0.7, 0.7, seeds=3)
    found = compare(arms, list(combinations(arms, 2)))
    assert [one.p_adjusted for one in found] == pytest.approx(adjust([one.p for one in found], "holm"))
    assert [one.different for one in found] == [one.p_adjusted <= 0.05 for one in found]
    alone = comparison(arms)
    assert alone.p == found[0].p
    assert alone.p_adjusted == alone.p
    assert alone.detectable < found[0].detectable


@pytest.mark.parametrize("kind", [right_answers, spans])
@pytest.mark.parametrize("seeds", [1, 4])
def test_the_order_of_arms_does_not_matter(kind: type, seeds: int) -> None:
    arms = kind(10, 0.8, 0.7, 0.6, seeds=seeds)
    ahead = compare(arms, [("a", "b"), ("b", "c")])[0]
    back = compare(dict(reversed(arms.items())), [("b", "c"), ("b", "a")])[1]
    assert back.difference == pytest.approx(-ahead.difference)
    assert (back.low, back.high) == pytest.approx((-ahead.high, -ahead.low))
    assert (back.error, back.detectable) == pytest.approx((ahead.error, ahead.detectable))
    assert back.p == pytest.approx(ahead.p, rel=0.2)


@pytest.mark.parametrize("seeds", [1, 4])
def test_neither_the_order_of_examples_nor_one_that_adds_nothing_matters(seeds: int) -> None:
    arms = spans(11, 0.75, 0.65, seeds=seeds)
    order = np.random.default_rng(0).permutation(200)
    mixed = {name: Evidence(arm.counts[:, order], f1) for name, arm in arms.items()}
    empty = {name: Evidence(np.concatenate([arm.counts, 0 * arm.counts[:, :1]], axis=1), f1) for name, arm in arms.items()}
    found, *others = (comparison(one, draws=20_000) for one in (arms, mixed, empty))
    for other in others:
        assert other.difference == pytest.approx(found.difference)
        assert (other.error, other.low, other.high) == pytest.approx((found.error, found.low, found.high), rel=0.03, abs=1e-3)
        assert other.p == pytest.approx(found.p, abs=0.01)


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    arms = right_answers(12, 0.8, 0.7, seeds=5)
    a, b = (arms[name].counts for name in "ab")
    some = {"a": Evidence(a[[4, 0, 2, 1]], mean, (4, 0, 2, 1)), "b": Evidence(b[[1, 2, 3, 4]], mean, (1, 2, 3, 4))}
    both = {"a": Evidence(a[[1, 2, 4]], mean), "b": Evidence(b[[1, 2, 4]], mean)}
    found, expected = comparison(some), comparison(both)
    assert found.seeds == 3
    assert (found.difference, found.error, found.p) == pytest.approx((expected.difference, expected.error, expected.p))
    single = comparison({"a": some["a"], "b": Evidence(b[[1, 3]], mean, (1, 3))})
    assert (single.seeds, single.test) == (1, "McNemar")
    assert single.p == mcnemar(a[1, :, 0], b[1, :, 0])


def test_draws_without_a_value_are_left_out() -> None:
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
    other = Evidence(arms["b"].counts, mean, (7,))
    with pytest.raises(UserError, match=r"'a' and 'b' have no seed in common \(0, and 7\)"):
        comparison({"a": arms["a"], "b": other})
    assert compare(arms, []) == []


@pytest.mark.parametrize("kind", [right_answers, spans])
def test_alike_arms_are_seldom_told_apart(kind: type) -> None:
    """150 studies of three alike arms, three seeds: false verdicts at most 5%, intervals near 95%; binomial bounds."""
    false, held, shares = 0, 0, (0.7, 0.7, 0.7)
    for seed in range(150):
        found = compare(kind(seed, *shares, seeds=3, examples=100), [("a", "b"), ("a", "c"), ("b", "c")], draws=300)
        false += any(one.different for one in found)
        held += found[0].low <= 0 <= found[0].high
    assert false <= stats.binom.ppf(0.999, 150, 0.05)
    assert held >= stats.binom.ppf(0.001, 150, 0.95)


def test_a_large_difference_is_found() -> None:
    found = comparison(right_answers(16, 0.9, 0.6, seeds=3))
    assert found.different
    assert found.test == "bootstrap over seeds and examples"
    assert found.difference > found.detectable > found.error > 0
