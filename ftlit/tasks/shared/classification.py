"""What tasks with one answer an example share: the loss, the label with the highest score, and the confusion matrix."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import classification
from transformers import AutoModelForSequenceClassification

from ftlit.metrics.per_class import per_class
from ftlit.tasks.shared.labelled import Labelled


class Classification(Labelled):
    """One of a list of labels for each example."""

    auto_class = AutoModelForSequenceClassification

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.adopt(problem_type=self.problem_type)
        for split in ("val", "test"):
            self.metrics[f"{split}_confusion"] = self.confusion()

    @property
    def problem_type(self) -> str:
        """What transformers calls the problem in a model's configuration."""
        return "single_label_classification"

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.loss(logits, batch["labels"], self.class_weights)

    def metric_inputs(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # Given logits, torchmetrics would guess for each batch whether they are probabilities.
        return logits.softmax(-1), labels

    def confusion(self) -> Any:
        """The confusion matrix, ``(labels, labels)``."""
        return classification.MulticlassConfusionMatrix(len(self.label_names))

    def update_metrics(self, split: str, predicted: Tensor, labels: Tensor) -> None:
        super().update_metrics(split, predicted, labels)
        self.metrics[f"{split}_confusion"].update(predicted, labels)

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
