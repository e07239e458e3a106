"""Area under the ROC curve, averaged over the labels for which it is defined."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAUROC, MultilabelAUROC
from torchmetrics.utilities import dim_zero_cat


class _OverOccurringLabels:
    """One-vs-rest AUROC, averaged over the labels that have both positive and negative examples.

    The macro average of torchmetrics counts 0 for all other labels. The result is NaN if there is no such label.

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
    """Macro AUROC for examples with one label."""


class MacroMultilabelAUROC(_OverOccurringLabels, MultilabelAUROC):  # type: ignore[misc]
    """Macro AUROC for examples with any number of labels."""
