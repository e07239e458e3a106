"""Losses as objects: each gives one number an example, so that averaging does not depend on how a batch is split.

Class weights multiply an example's loss and the sum is divided by the number of examples (not by the sum of their
weights), for the same reason.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ftlit.errors import UserError
from ftlit.util.batch import IGNORED

Weights = list[float] | Literal["balanced"] | None


class Loss(ABC):
    """Compares logits with labels."""

    class_weights: Weights = None

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of each example, shape ``(batch,)``, for logits ``(batch, labels)``; weights ``(labels,)``."""

    def weights(self, counts: Sequence[int], rows: int) -> Tensor | None:
        """The weight of each class, shape ``(labels,)``.

        Args:
            counts: Training rows of each class.
            rows: All training rows.
        """
        if self.class_weights is None:
            return None
        if self.class_weights == "balanced":
            return self.balanced(torch.tensor(counts).clamp(min=1).float(), rows)
        if len(self.class_weights) != len(counts):
            raise UserError(
                f"model.loss.class_weights has {len(self.class_weights)} numbers, but the data have {len(counts)} labels"
            )
        return torch.tensor(self.class_weights, dtype=torch.float32)

    def balanced(self, counts: Tensor, rows: int) -> Tensor:
        """Weights that give every class the same total: ``rows / (classes * counts)``, as scikit-learn's."""
        return rows / (len(counts) * counts)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy over classes that exclude each other.

    Args:
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al., 2016).
        class_weights: One number a class in the order of the label names, or `balanced` for the inverse of its
            frequency in train.
    """

    label_smoothing: float = 0.0
    class_weights: Weights = None

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        losses = functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.label_smoothing)
        return losses if weights is None else losses * weights[labels]


@dataclass(frozen=True)
class Focal(Loss):
    """Cross-entropy scaled by ``(1 - p) ** gamma``, so that easy examples count less (Lin et al., 2017).

    Args:
        gamma: How fast easy examples lose weight; 0 gives cross-entropy.
        class_weights: One number a class in the order of the label names, or `balanced`.
    """

    gamma: float = 2.0
    class_weights: Weights = None

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        log_p = functional.log_softmax(logits.float(), -1).gather(1, labels[:, None]).squeeze(1)
        wrong = (-torch.expm1(log_p)).clamp(min=torch.finfo(torch.float32).tiny)  # a power below 1 has no slope at 0
        losses = -(wrong**self.gamma) * log_p
        return losses if weights is None else losses * weights[labels]


@dataclass(frozen=True)
class BCE(Loss):
    """Binary cross-entropy of each label, averaged over labels: for several labels a text.

    Args:
        class_weights: Weight of each label's positive examples, or `balanced` for negatives / positives in train.
    """

    class_weights: Weights = None

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            logits.float(), labels.float(), pos_weight=weights, reduction="none"
        ).mean(1)

    def balanced(self, counts: Tensor, rows: int) -> Tensor:
        return (rows - counts).clamp(min=1) / counts


@dataclass(frozen=True)
class MSE(Loss):
    """Squared error."""

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return functional.mse_loss(logits.float().squeeze(1), labels, reduction="none")


@dataclass(frozen=True)
class Huber(Loss):
    """Squared error near zero, absolute error beyond ``delta`` (Huber, 1964).

    Args:
        delta: Where the error becomes linear, in units of the (standardised) target.
    """

    delta: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return functional.huber_loss(logits.float().squeeze(1), labels, delta=self.delta, reduction="none")


def token_losses(loss: Loss, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The losses of each example's labelled tokens summed, shape ``(batch,)``.

    Args:
        loss: Compares the logits of single tokens with their labels.
        logits: Shape ``(batch, tokens, labels)``.
        labels: Shape ``(batch, tokens)``; tokens labelled `IGNORED` have no loss.
        weights: Weight of each label, shape ``(labels,)``.
    """
    labelled = labels != IGNORED
    return row_sums(loss(logits[labelled], labels[labelled], weights), labelled)


def row_sums(values: Tensor, chosen: Tensor) -> Tensor:
    """The sum of each row's values, ``(batch,)``.

    Args:
        values: A value for each chosen token, one row after the other, ``(chosen,)``.
        chosen: Which tokens these are, ``(batch, tokens)``.
    """
    # Not by index_add, whose order of summation on a GPU changes from run to run.
    return values.new_zeros(chosen.shape).masked_scatter(chosen, values).sum(1)


def perplexity(nll: float) -> float:
    """``exp`` of the mean of ``-log p`` of a token, no higher than single precision holds, in which it is logged."""
    return math.exp(min(nll, 88.0))
