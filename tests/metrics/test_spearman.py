"""Spearman's correlation against scipy's."""

import pytest
import torch
from ftlit.metrics.spearman import Spearman
from scipy import stats


@pytest.mark.parametrize("count", [2, 40, 200_000])  # of the most, the sums of tied ranks do not fit into 32 bits
def test_ties_share_the_mean_of_their_ranks(count: int) -> None:
    torch.manual_seed(0)
    truth = (3 * torch.rand(count, dtype=torch.float64)).round()
    guess = truth + torch.randn(count, dtype=torch.float64).round()
    metric = Spearman().set_dtype(torch.float64)
    for some in torch.arange(count).tensor_split(3):
        metric.update(guess[some], truth[some])
    found = metric.compute()
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(stats.spearmanr(truth, guess).statistic, abs=1e-12)


@pytest.mark.filterwarnings("ignore:The variance of predictions")
def test_a_constant_has_no_correlation() -> None:
    metric = Spearman().set_dtype(torch.float64)
    metric.update(torch.ones(5, dtype=torch.float64), torch.arange(5, dtype=torch.float64))
    assert metric.compute().isnan()
