"""Losses that return a value for each example, so that the average does not depend on how a batch is split.

For the same reason, class weights multiply the loss of an example, and the sum is divided by the number of examples rather
than by the sum of their weights.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ftlit.errors import UserError
from ftlit.util.arguments.checked import CheckedArguments
from ftlit.util.batch import IGNORED

ClassWeights = list[float] | Literal["balanced"] | None
IMPOSSIBLE = -1e30  # a finite logit whose probability is 0 at any temperature: minus infinity would give 0 times infinity


class Loss(metaclass=CheckedArguments):
    """Base class of losses."""

    config_key: ClassVar[str] = "model.loss"
    class_weights: ClassWeights = None

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of each example, ``(batch,)``, for logits ``(batch, labels)`` and class weights ``(labels,)``."""

    def weights(self, counts: Sequence[int], rows: int) -> Tensor | None:
        """Return the weight of each class, ``(labels,)``.

        Args:
            counts: Number of training rows of each class.
            rows: Total number of training rows.

        Raises:
            UserError: If the number of class weights differs from the number of labels.
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
        """Return weights with the same total for all classes, ``rows / (classes * counts)``, as in scikit-learn."""
        return rows / (len(counts) * counts)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy over mutually exclusive classes.

    Args:
        label_smoothing: Fraction of the target that is distributed evenly over all classes (Szegedy et al., 2016).
        class_weights: A weight for each class in the order of the label names, or `balanced` for weights inversely
            proportional to the class frequencies in train.
    """

    label_smoothing: float = 0.0
    class_weights: ClassWeights = None

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        losses = functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.label_smoothing)
        return losses if weights is None else losses * weights[labels]


@dataclass(frozen=True)
class Focal(Loss):
    """Cross-entropy multiplied by ``(1 - p) ** gamma``, which down-weights easy examples (Lin et al., 2017).

    Args:
        gamma: Focusing parameter. Higher values down-weight easy examples more, and 0 is cross-entropy.
        class_weights: A weight for each class in the order of the label names, or `balanced`.
    """

    gamma: float = 2.0
    class_weights: ClassWeights = None

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        log_p = functional.log_softmax(logits.float(), -1).gather(1, labels[:, None]).squeeze(1)
        wrong = (-torch.expm1(log_p)).clamp(min=torch.finfo(torch.float32).tiny)  # gamma below 1 has an infinite gradient at 0
        losses = -(wrong**self.gamma) * log_p
        return losses if weights is None else losses * weights[labels]


@dataclass(frozen=True)
class BCE(Loss):
    """Binary cross-entropy averaged over labels, for texts with several labels.

    Args:
        class_weights: A weight for the positive examples of each label, or `balanced` for negatives / positives in train.
    """

    class_weights: ClassWeights = None

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
    """Squared error below `delta`, absolute error above it (Huber, 1964).

    Args:
        delta: Error above which the loss is linear, in units of the standardized target.
    """

    delta: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return functional.huber_loss(logits.float().squeeze(1), labels, delta=self.delta, reduction="none")


@dataclass(frozen=True)
class Distillation(Loss):
    """Learn from the outputs of `model.teacher` as well as from the labels (Hinton et al., 2015).

    The loss of an example is ``alpha * temperature ** 2 * KL(teacher, student) + (1 - alpha) * task_loss``. Evaluations report
    `task_loss` alone.

    Args:
        temperature: Number by which both models' logits are divided, so that more is learned from unlikely classes. Numbers
            that a regression predicts have none: there, the squared difference takes the place of the divergence.
        alpha: Share of the teacher in the loss. 1 ignores the labels.
        task_loss: The loss on the labels; by default the usual loss of the task.
    """

    temperature: float = 2.0
    alpha: float = 0.5
    task_loss: Loss | None = None

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the divergence of each example, ``(batch,)``, where `labels` are the teacher's logits ``(batch, labels)``."""
        ours, theirs = (functional.log_softmax(scores.float() / self.temperature, -1) for scores in (logits, labels))
        return self.temperature**2 * functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)

    def of_each_label(self, logits: Tensor, taught: Tensor) -> Tensor:
        """Return the mean divergence over independent labels, ``(batch,)``, from logits ``(batch, labels)`` of both models."""
        both = (torch.stack([scores.float(), torch.zeros_like(scores.float())], -1) for scores in (logits, taught))
        return self(*both).mean(-1)

    def of_possible(self, logits: Tensor, taught: Tensor) -> Tensor:
        """Return the divergence of each example, ``(batch,)``, where what is no choice has logits of minus infinity.

        Args:
            logits: Logits, ``(batch, choices)``.
            taught: Those of the teacher, with the same shape.
        """
        return self(*(scores.float().clamp(min=IMPOSSIBLE) for scores in (logits, taught)))

    def mixed(self, own: Tensor, taught: Tensor) -> Tensor:
        """Return the weighted mean of the losses on the labels and to the teacher."""
        return self.alpha * taught + (1 - self.alpha) * own


def token_losses(loss: Loss, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sum of the token losses of each example, ``(batch,)``.

    Args:
        loss: Loss of a single token.
        logits: Logits, ``(batch, tokens, labels)``.
        labels: Labels, ``(batch, tokens)``. Tokens labelled `IGNORED` are excluded.
        weights: Weight of each label, ``(labels,)``.
    """
    labelled = labels != IGNORED
    return row_sums(loss(logits[labelled], labels[labelled], weights), labelled)


def taught_token_losses(loss: Distillation, logits: Tensor, lessons: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the divergences from the teacher over the labelled tokens of each example, ``(batch,)``.

    Args:
        loss: Divergence of a single token.
        logits: Logits, ``(batch, tokens, labels)``.
        lessons: The teacher's logits of the labelled tokens, in row order, ``(labelled, labels)``.
        labels: Labels, ``(batch, tokens)``. Tokens labelled `IGNORED` are excluded.
    """
    labelled = labels != IGNORED
    return row_sums(loss(*of_both(logits[labelled], lessons)), labelled)


def of_both(logits: Tensor, lessons: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of two models for the tokens that both know: models of a family pad their tables to different sizes."""
    known = min(logits.shape[-1], lessons.shape[-1])
    return logits[..., :known], lessons[..., :known]


def row_sums(values: Tensor, chosen: Tensor) -> Tensor:
    """Sum values by row, ``(batch,)``.

    Args:
        values: A value for each selected token, in row order, ``(selected,)``.
        chosen: Boolean mask of the selected tokens, ``(batch, tokens)``.
    """
    # index_add would sum in a different order in each run on a GPU.
    return values.new_zeros(chosen.shape).masked_scatter(chosen, values).sum(1)


def perplexity(nll: float) -> float:
    """Return ``exp(nll)`` of a mean token loss, limited to what fits into single precision, in which it is logged."""
    return math.exp(min(nll, 88.0))
