"""Metrics of predicted numbers against SciPy and NumPy: ties, large numbers, constants, devices."""

import numpy as np
import pytest
import torch
from scipy import stats

from ftlit.metrics.exact.correlations import ranks
from ftlit.metrics.exact.regression import MeanError, Pearson, Spearman


@pytest.mark.parametrize("count", [2, 40, 200_000])
def test_ties_share_the_mean_of_their_ranks(count: int) -> None:
    torch.manual_seed(0)
    truth = (3 * torch.rand(count, dtype=torch.float64)).round()
    guess = truth + torch.randn(count, dtype=torch.float64).round()
    metric = Spearman()
    for some in torch.arange(count).tensor_split(3):
        metric.update(guess[some], truth[some])
    assert float(metric.compute()) == pytest.approx(stats.spearmanr(truth, guess).statistic, abs=1e-12)
    assert (ranks(guess.numpy()) == stats.rankdata(guess)).all()


@pytest.mark.parametrize("constant", [0.1, 1.6e9 + 0.1, -1e-30])
@pytest.mark.parametrize("kind", [Pearson, Spearman])
def test_a_constant_has_no_correlation(kind: type, constant: float) -> None:
    for constant_first in (True, False):
        metric, numbers = kind(), [torch.full((7,), constant, dtype=torch.float64), torch.arange(7, dtype=torch.float64)]
        metric.update(*(numbers if constant_first else numbers[::-1]))
        assert metric.compute().isnan()


def test_large_numbers_are_told_apart() -> None:
    truth = torch.tensor([16777216.0, 16777217.0, 16777218.0, 16777219.0], dtype=torch.float64)
    for kind in (Pearson, Spearman):
        metric = kind()
        metric.to("cpu").update(truth + 0.25, truth)
        assert float(metric.compute()) == pytest.approx(1, abs=1e-12)


def test_metrics_stay_in_double_precision_once_they_are_moved_and_reset() -> None:
    rng = np.random.default_rng(0)
    truth = 1.6e9 + 50 * rng.normal(size=1000)
    guess = truth + rng.normal(size=1000)
    for metric, expected in ((MeanError(2), np.mean((guess - truth) ** 2)), (MeanError(1), np.mean(abs(guess - truth)))):
        for _ in range(2):
            metric.to("cpu").reset()
            for some in np.array_split(np.arange(1000), 7):
                metric.update(torch.tensor(guess[some]), torch.tensor(truth[some]))
            assert metric.compute().dtype == torch.float64
            assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)
