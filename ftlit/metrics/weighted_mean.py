"""Weighted mean of the losses of an evaluation."""

import torch
from torch import Tensor
from torchmetrics import Metric


class WeightedMean(Metric):
    """A weighted mean in double precision.

    If a value is NaN, so is the mean. `MeanMetric` of torchmetrics ignores NaNs, which would hide that the loss of a model is
    NaN on some examples.
    """

    full_state_update = False
    higher_is_better = False  # it is a mean of losses
    total: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weights"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), "sum")

    def update(self, sums: Tensor, weights: Tensor) -> None:
        """Add the weighted values of examples and their weights, both ``(batch,)``."""
        self.total += sums.double().sum()
        self.weights += weights.double().sum()

    def compute(self) -> Tensor:
        """Return the sum of the weighted values divided by the sum of the weights."""
        return self.total / self.weights
