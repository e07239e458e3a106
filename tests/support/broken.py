"""A loss that becomes NaN, for tests of how a run ends then."""

from typing import ClassVar

import torch
from torch import Tensor

from ftlit.losses import MSE, CrossEntropy

OUTLIER = 5.0  # standard deviations


class NaNAtOutliers(MSE):
    """Squared error that is NaN where the target is an outlier."""

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return super().__call__(logits, labels, weights).masked_fill(labels > OUTLIER, torch.nan)


class BrokenAfter(CrossEntropy):
    """Raises an error at a training batch; evaluations are spared."""

    batches = 0  # that are trained on first
    error: ClassVar[Exception] = ValueError("a library does not like a setting")

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        if logits.requires_grad:
            if type(self).batches == 0:
                raise self.error
            type(self).batches -= 1
        return super().__call__(logits, labels, weights)
