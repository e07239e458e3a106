"""What tasks with a list of labels share: names, class weights and the confusion matrix."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import classification
from transformers import AutoModelForSequenceClassification

from ftlit.checkpoint import check_labels
from ftlit.losses import CrossEntropy, Loss
from ftlit.report import per_class
from ftlit.tasks.base import TaskModule


class Classification(TaskModule):
    """One of a list of labels for each example.

    Args:
        label_names: Taken from the data: the labels in the order of their ids.
        label_counts: Taken from the data: training rows of each label, then of all.
    """

    auto_class = AutoModelForSequenceClassification
    weighted: ClassVar[bool] = True

    def __init__(self, label_names: list[str] | None = None, label_counts: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_names = label_names or []
        names = dict(enumerate(self.label_names))
        self.adopt(
            num_labels=len(names),
            id2label=names,
            label2id={name: i for i, name in names.items()},
            problem_type=self.problem_type,
        )
        *counts, rows = label_counts or [0]
        self.register_buffer("class_weights", self.loss.weights(counts, rows), persistent=False)
        for split in ("val", "test"):
            self.metrics[f"{split}_confusion"] = self.confusion()

    @property
    def problem_type(self) -> str:
        """What transformers calls the problem in a model's configuration."""
        return "single_label_classification"

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.loss(logits, batch["labels"], self.class_weights)  # type: ignore[arg-type]

    def metric_inputs(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # Given logits, torchmetrics would guess for each batch whether they are probabilities.
        return logits.softmax(-1), labels

    def confusion(self) -> Any:
        """The confusion matrix, ``(labels, labels)``."""
        return classification.MulticlassConfusionMatrix(len(self.label_names))

    def update_metrics(self, split: str, predicted: Tensor, labels: Tensor) -> None:
        super().update_metrics(split, predicted, labels)
        self.metrics[f"{split}_confusion"].update(predicted, labels)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_labels(checkpoint, self.label_names)

    def report(self, split: str) -> dict[str, Any]:
        matrix = self.metrics[f"{split}_confusion"].compute().tolist()
        return {"per_class": per_class(matrix, self.label_names), "confusion": matrix, "labels": self.label_names}

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [self._decode_one(row) for row in torch.softmax(logits, -1).tolist()]

    def _decode_one(self, scores: list[float]) -> dict[str, Any]:
        best = max(range(len(scores)), key=scores.__getitem__)
        return {
            "prediction": self.label_names[best],
            "score": scores[best],
            "scores": dict(zip(self.label_names, scores, strict=True)),
        }
