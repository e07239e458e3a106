"""Multiple choice: the right one of a row's texts."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchmetrics import MeanMetric, MetricCollection
from transformers import AutoModelForSequenceClassification

from ftlit.losses import CrossEntropy, Loss
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Outputs


class MultipleChoice(TaskModule):
    """Predicts the right choice for each question.

    Every choice is scored on its own, so questions may have different numbers of choices. The probabilities are the softmax
    of a question's scores, as in transformers' models for multiple choice.
    """

    evidence: ClassVar[str | None] = "choices"
    auto_class = AutoModelForSequenceClassification
    takes_teacher = True
    lesson_unit = "choice"

    def model_config(self) -> dict[str, Any]:
        return {"num_labels": 1}

    @property
    def default_monitor(self) -> str:
        return "val/accuracy"

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Return the scores of each row's choices, ``(batch, most choices)``, with minus infinity if a row has fewer."""
        return _by_row(super().logits(batch), batch)

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        counts = torch.tensor(_counts(batch), device=logits.device)
        losses = torch.zeros(len(logits), device=logits.device)
        for count in counts.unique().tolist():  # a loss over all columns would spread label smoothing over the padding
            same = counts == count
            losses = losses.masked_scatter(same, self.loss(logits[same, :count], batch["labels"][same]))
        return losses

    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return the scores of all choices, row after row, ``(choices, 1)``."""
        return super().logits(batch)

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.distillation.of_possible(logits, _by_row(lessons, batch))

    def text_counts(self, batch: dict[str, Any]) -> list[int] | None:
        return _counts(batch)

    def build_metrics(self) -> MetricCollection:
        return MetricCollection({"accuracy": MeanMetric()}).set_dtype(torch.float64)

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        outputs = super().evaluate_batch(batch)
        right = (outputs.scores.argmax(-1) == outputs.targets).double()
        return replace(outputs, predicted=right, targets=torch.ones_like(right))  # the mean of values and their weights

    def prediction_types(self) -> dict[str, Any]:
        return {"prediction": str, "index": int, "score": float, "scores": [float]}

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        rows = zip(batch["metadata"]["choices"], logits.softmax(-1).tolist(), strict=True)
        return [_decode_one(choices, scores[: len(choices)]) for choices, scores in rows]


def _counts(batch: dict[str, Any]) -> list[int]:
    return [len(choices) for choices in batch["metadata"]["choices"]]


def _by_row(scores: Tensor, batch: dict[str, Any]) -> Tensor:
    """Scores of all choices ``(choices, 1)`` by row, ``(batch, most choices)``, with minus infinity if a row has fewer."""
    return pad_sequence(list(scores.squeeze(1).split(_counts(batch))), batch_first=True, padding_value=float("-inf"))


def _decode_one(choices: list[str], scores: list[float]) -> dict[str, Any]:
    best = max(range(len(scores)), key=scores.__getitem__)
    return {"prediction": choices[best], "index": best, "score": scores[best], "scores": scores}
