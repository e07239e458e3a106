"""The area under the ROC curve, averaged over labels that have one."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAUROC, MultilabelAUROC
from torchmetrics.utilities import dim_zero_cat


class _OverOccurringLabels:
    """The area of each label against the others, averaged over the labels that some examples have and others have not.

    torchmetrics' own average counts 0 for the others. NaN where no label has an area.

    Args:
        labels: Number of labels.
    """

    target: Any

    def __init__(self, labels: int) -> None:
        super().__init__(labels, average=None)  # type: ignore[call-arg]

    def compute(self) -> Tensor:
        areas, target = super().compute(), dim_zero_cat(self.target)  # type: ignore[misc]
        counts = target.sum(0) if target.ndim == 2 else torch.bincount(target, minlength=len(areas))
        return areas[(counts > 0) & (counts < len(target))].mean()


class MacroMulticlassAUROC(_OverOccurringLabels, MulticlassAUROC):  # type: ignore[misc]
    """For one label an example."""


class MacroMultilabelAUROC(_OverOccurringLabels, MultilabelAUROC):  # type: ignore[misc]
    """For any number of labels an example."""
