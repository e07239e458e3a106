"""Spearman's rank correlation for any number of examples."""

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.regression import SpearmanCorrCoef
from torchmetrics.utilities import dim_zero_cat


class Spearman(SpearmanCorrCoef):
    """Spearman's correlation with ranks in double precision. In torchmetrics, sums of tied ranks overflow from about 100,000
    examples."""

    def compute(self) -> Tensor:
        return pearson_corrcoef(_ranks(dim_zero_cat(self.preds)), _ranks(dim_zero_cat(self.target)))


def _ranks(values: Tensor) -> Tensor:
    """Rank values from 1, ``(n,)``. Equal values get the mean of their ranks."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[place]
