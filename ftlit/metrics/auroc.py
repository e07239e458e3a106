"""The area under the ROC curve, averaged over labels."""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAUROC, MultilabelAUROC
from torchmetrics.utilities import dim_zero_cat


class MacroMulticlassAUROC(MulticlassAUROC):
    """torchmetrics' own, of each label against the others, averaged over the labels that occur: its average takes 0 for others.

    Args:
        labels: Number of labels.
    """

    def __init__(self, labels: int) -> None:
        super().__init__(labels, average=None)

    def compute(self) -> Tensor:  # type: ignore[override]
        target = dim_zero_cat(self.target)
        return _mean(super().compute(), torch.bincount(target, minlength=self.num_classes), len(target))


class MacroMultilabelAUROC(MultilabelAUROC):
    """The same of several labels a text: over those that some texts have and others have not.

    Args:
        labels: Number of labels.
    """

    def __init__(self, labels: int) -> None:
        super().__init__(labels, average=None)

    def compute(self) -> Tensor:  # type: ignore[override]
        target = dim_zero_cat(self.target)
        return _mean(super().compute(), target.sum(0), len(target))


def _mean(areas: Tensor, counts: Tensor, examples: int) -> Tensor:
    """The mean over labels that have an area, NaN where none has."""
    return areas[(counts > 0) & (counts < examples)].mean()
