"""The mean of an evaluation's losses."""

import torch
from torch import Tensor
from torchmetrics import Metric


class UnitMean(Metric):
    """A sum over the units that it is of, in double precision.

    A value that is no number makes the mean none: torchmetrics' own mean leaves it out, so that a model whose loss is lost on
    some examples would be compared by the rest.
    """

    full_state_update = False
    total: Tensor
    units: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "units"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), "sum")

    def update(self, sums: Tensor, units: Tensor) -> None:
        """Take the sums of some examples and the number of units of each, ``(batch,)`` both."""
        self.total += sums.double().sum()
        self.units += units.double().sum()

    def compute(self) -> Tensor:
        """The mean of a unit."""
        return self.total / self.units
