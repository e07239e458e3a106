"""Metrics of predicted numbers in double precision, whatever the precision of the model and the number of devices."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ftlit.metrics.exact.correlations import pearson, spearman

# The metrics of torchmetrics return to single precision when they are reset or moved to a device.


class MeanError(Metric):
    """The mean of an error over examples.

    Args:
        power: 2 for squared errors, 1 for absolute ones.
        root: Whether to return the square root of the mean.
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self, power: int, root: bool = False) -> None:
        super().__init__()
        self.power, self.root = power, root
        for name in ("total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and true numbers, ``(batch,)`` each."""
        self.total += ((preds.double() - target.double()).abs() ** self.power).sum()
        self.count += len(preds)

    def compute(self) -> Tensor:
        """Return the mean, or its square root."""
        mean = self.total / self.count
        return mean.sqrt() if self.root else mean


class _Correlation(Metric):
    """A correlation of all predictions with all true numbers; NaN if the predictions or the numbers are all equal."""

    full_state_update = False
    higher_is_better = True
    preds: Any
    target: Any

    def __init__(self) -> None:
        super().__init__()
        for name in ("preds", "target"):
            self.add_state(name, [], "cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and true numbers, ``(batch,)`` each."""
        self.preds.append(preds.double())
        self.target.append(target.double())

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        return dim_zero_cat(self.preds).cpu().numpy(), dim_zero_cat(self.target).cpu().numpy()


class Pearson(_Correlation):
    """Pearson's correlation."""

    def compute(self) -> Tensor:
        """Return the correlation."""
        return torch.tensor(pearson(*self._columns()), dtype=torch.float64)


class Spearman(_Correlation):
    """Spearman's rank correlation; equal numbers get the mean of their ranks."""

    def compute(self) -> Tensor:
        """Return the correlation."""
        return torch.tensor(spearman(*self._columns()), dtype=torch.float64)
