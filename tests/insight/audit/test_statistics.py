"""Intervals of an audit: against references, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from ftlit.insight.audit.pairs.compared import verdict_of
from ftlit.insight.audit.statistics import Estimate, difference, mean, share
from ftlit.insight.shares import wilson


@pytest.mark.parametrize(("hits", "count"), [(0, 9), (3, 20), (17, 20), (50, 50)])
def test_wilson_is_that_of_scipy(hits: int, count: int) -> None:
    reference = stats.binomtest(hits, count).proportion_ci(0.9, "wilson")
    assert wilson(hits / count, count, 0.1) == pytest.approx((reference.low, reference.high))
    one = share([1] * hits + [0] * (count - hits), range(count), 0.1)
    expected = count - 1 if 0 < hits < count else count  # the deviation is that of a sample
    assert (one.low, one.high) == pytest.approx(wilson(hits / count, expected, 0.1))


def test_the_mean_is_that_of_students_t() -> None:
    x = np.random.default_rng(0).normal(size=30)
    reference = stats.ttest_1samp(x, 0).confidence_interval(0.99)
    one = mean(x, range(30), 0.01)
    assert (one.low, one.high) == pytest.approx((reference.low, reference.high))


def test_repeated_values_of_a_document_tell_nothing_more() -> None:
    rng = np.random.default_rng(1)
    x, hits = rng.normal(size=40), rng.random(40) < 0.3
    once, thrice = mean(x, range(40), 0.05), mean(np.repeat(x, 3), np.repeat(range(40), 3).tolist(), 0.05)
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    one, three = share(hits, range(40), 0.05), share(np.repeat(hits, 3), np.repeat(range(40), 3).tolist(), 0.05)
    assert (one.low, one.high) == pytest.approx((three.low, three.high))


def test_the_difference_of_shares_is_newcombes() -> None:
    """The example of Newcombe (1998), table II, case a: 56 of 70 and 48 of 80."""
    low, high = difference(*(_exact(hits, count) for hits, count in ((56, 70), (48, 80))))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def _exact(hits: int, count: int) -> Estimate:
    return Estimate(hits / count, *wilson(hits / count, count, 0.05), count)


def test_intervals_hold_with_clusters() -> None:
    """Shares of clusters of five that agree often: the interval holds in about 95 of 100, as one of single values does not."""
    rng, kept, naive = np.random.default_rng(2), 0, 0
    for _ in range(400):
        own = rng.beta(1, 2, size=60)
        hits = rng.random((60, 5)) < own[:, None]
        one = share(hits.ravel(), np.repeat(range(60), 5).tolist(), 0.05)
        plain = wilson(hits.mean(), 300, 0.05)
        kept, naive = kept + (one.low <= 1 / 3 <= one.high), naive + (plain[0] <= 1 / 3 <= plain[1])
    assert naive < 360 < 370 < kept


def test_too_few_values_have_no_interval() -> None:
    assert np.isnan([mean([1.0], [0], 0.05).low, mean([], [], 0.05).value, share([], [], 0.05).value]).all()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.06, 0.2, "differs"),
        (-0.3, -0.06, "differs"),
        (-0.01, 0.04, "alike"),
        (0.01, 0.2, "open"),
        (float("nan"), float("nan"), "few texts"),
    ],
)
def test_verdicts(low: float, high: float, expected: str) -> None:
    assert verdict_of(low, high, 0.05) == expected
