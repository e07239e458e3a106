"""Matthews' correlation coefficient, which is 0 where it is undefined, as in scikit-learn and GLUE."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassMatthewsCorrCoef, MultilabelMatthewsCorrCoef

from ftlit.metrics.exact.correlations import matthews

TOLERANCE = 5e-7  # of single precision


class _WhereDefined:
    """Returns 0 where torchmetrics, with two classes of which one is never predicted, returns a number that depends on size.

    Sums of squares are in double precision, because in single precision they are wrong from some ten thousand examples on.
    """

    confmat: Any

    def compute(self) -> Tensor:
        """Return the coefficient; that of torchmetrics as long as it is right to its last digits."""
        matrix = self.confmat.cpu().numpy()
        matrix = matrix.sum(0) if matrix.ndim == 3 else matrix  # each label of each text is a decision of its own
        exact = float(matthews(matrix.diagonal(), matrix.sum(0), matrix.sum(1)))
        usual: Tensor = super().compute()  # type: ignore[misc]
        return usual if exact and abs(float(usual) - exact) < TOLERANCE else torch.tensor(exact, dtype=torch.float64)


class MulticlassMatthews(_WhereDefined, MulticlassMatthewsCorrCoef):  # type: ignore[misc]
    """Matthews' correlation for examples with one label."""


class MultilabelMatthews(_WhereDefined, MultilabelMatthewsCorrCoef):  # type: ignore[misc]
    """Matthews' correlation for examples with any number of labels, over all decisions together."""
