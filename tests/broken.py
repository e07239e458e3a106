"""A loss that goes wrong, for tests of what is done about it."""

import torch
from torch import Tensor

from ftlit.losses import MSE

OUTLIER = 5.0  # standard deviations


class NoNumberAtOutliers(MSE):
    """Squared error, which is no number where the target lies far out."""

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return super().__call__(logits, labels, weights).masked_fill(labels > OUTLIER, torch.nan)
