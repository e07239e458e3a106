"""The mean of an evaluation's losses."""

import torch
from torch import Tensor
from torchmetrics import Metric


class WeightedMean(Metric):
    """A weighted mean in double precision.

    A NaN among the values makes the mean NaN. torchmetrics' own mean leaves NaNs out, which would compare a model whose loss
    is NaN on some examples by the rest.
    """

    full_state_update = False
    total: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weights"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), "sum")

    def update(self, sums: Tensor, weights: Tensor) -> None:
        """Add the weighted values of some examples, and their weights, ``(batch,)`` both."""
        self.total += sums.double().sum()
        self.weights += weights.double().sum()

    def compute(self) -> Tensor:
        """The sum of the weighted values divided by the sum of the weights."""
        return self.total / self.weights
