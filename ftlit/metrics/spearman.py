"""Spearman's correlation of any number of examples."""

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.regression import SpearmanCorrCoef
from torchmetrics.utilities import dim_zero_cat


class Spearman(SpearmanCorrCoef):
    """torchmetrics' own, with ranks in double precision: its sums of tied ranks overflow beyond some 100,000 examples."""

    def compute(self) -> Tensor:
        return pearson_corrcoef(_ranks(dim_zero_cat(self.preds)), _ranks(dim_zero_cat(self.target)))


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value from 1, ``(n,)``; equal values share the mean of theirs."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[place]
