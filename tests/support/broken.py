"""A loss that becomes NaN, for tests of how a run ends then."""

import torch
from torch import Tensor

from ftlit.losses import MSE

OUTLIER = 5.0  # standard deviations


class NaNAtOutliers(MSE):
    """Squared error that is NaN where the target is an outlier."""

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return super().__call__(logits, labels, weights).masked_fill(labels > OUTLIER, torch.nan)
