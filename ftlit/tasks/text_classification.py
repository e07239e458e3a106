"""Text classification: one label or several for a text or a pair of texts."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection, classification
from transformers import AutoModelForSequenceClassification

from ftlit.errors import UserError
from ftlit.losses import BCE, CrossEntropy, Loss
from ftlit.report import per_class
from ftlit.tasks.base import TaskModule


class TextClassification(TaskModule):
    """Labels for a text or a pair of texts.

    Args:
        label_names: Taken from the data: the labels in the order of their ids.
        label_counts: Taken from the data: training rows of each label, then of all.
        multi_label: Whether a text may have any number of labels.
    """

    auto_class = AutoModelForSequenceClassification

    def __init__(
        self,
        label_names: list[str] | None = None,
        label_counts: list[int] | None = None,
        multi_label: bool = False,
        **kwargs: Any,
    ) -> None:
        self.multi_label = multi_label  # before the default loss and monitor, which depend on it
        super().__init__(**kwargs)
        self.label_names = label_names or []
        names = dict(enumerate(self.label_names))
        self.adopt(
            num_labels=len(names),
            id2label=names,
            label2id={name: i for i, name in names.items()},
            problem_type="multi_label_classification" if multi_label else "single_label_classification",
        )
        *counts, rows = label_counts or [0]
        self.register_buffer("class_weights", self.loss.weights(counts, rows), persistent=False)
        for split in ("val", "test"):
            self.metrics[f"{split}_confusion"] = self.confusion()

    @property
    def default_monitor(self) -> str:
        return "val/f1_macro" if self.multi_label else "val/accuracy"

    def default_loss(self) -> Loss:
        return BCE() if self.multi_label else CrossEntropy()

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.loss(logits, batch["labels"], self.class_weights)  # type: ignore[arg-type]

    def build_metrics(self) -> MetricCollection:
        n, kind = len(self.label_names), "Multilabel" if self.multi_label else "Multiclass"
        size = {"num_labels" if self.multi_label else "num_classes": n}
        make = {name: getattr(classification, kind + name) for name in ("Precision", "Recall", "F1Score", "AUROC")}
        metrics: dict[str, Any] = {}
        if self.multi_label:  # accuracy is the share of texts whose labels are all right
            metrics["accuracy"] = classification.MultilabelExactMatch(n)
        else:
            metrics["accuracy"] = classification.MulticlassAccuracy(n, average="micro")
        for average in ("macro", "micro", "weighted"):
            for name in ("Precision", "Recall", "F1Score"):
                metrics[f"{name.removesuffix('Score').lower()}_{average}"] = make[name](**size, average=average)
        metrics["auroc"] = make["AUROC"](**size)
        metrics["mcc"] = getattr(classification, f"{kind}MatthewsCorrCoef")(n)
        return MetricCollection(metrics)

    def metric_inputs(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # Given logits, torchmetrics would guess for each batch whether they are probabilities.
        return (logits.sigmoid() if self.multi_label else logits.softmax(-1)), labels

    def confusion(self) -> Any:
        """The confusion matrix: ``(labels, labels)``, or ``(labels, 2, 2)`` for several labels a text."""
        n = len(self.label_names)
        if self.multi_label:
            return classification.MultilabelConfusionMatrix(n)
        return classification.MulticlassConfusionMatrix(n)

    def update(self, split: str, logits: Tensor, batch: dict[str, Any]) -> None:
        super().update(split, logits, batch)
        self.metrics[f"{split}_confusion"].update(*self.metric_inputs(logits, batch["labels"]))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        known = checkpoint.get("hyper_parameters", {}).get("label_names", self.label_names)
        if known != self.label_names:
            raise UserError(
                f"the checkpoint was trained on the labels {known}, but the data have {self.label_names}; "
                "give the order of the first as data.label_names"
            )

    def report(self, split: str) -> dict[str, Any]:
        metric = self.metrics[f"{split}_confusion"]
        matrix = metric.compute().tolist()
        metric.reset()
        return {"per_class": per_class(matrix, self.label_names), "confusion": matrix, "labels": self.label_names}

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        if self.multi_label:
            return [self._decode_several(row) for row in torch.sigmoid(logits).tolist()]
        return [self._decode_one(row) for row in torch.softmax(logits, -1).tolist()]

    def _decode_one(self, scores: list[float]) -> dict[str, Any]:
        best = max(range(len(scores)), key=scores.__getitem__)
        return {
            "prediction": self.label_names[best],
            "score": scores[best],
            "scores": dict(zip(self.label_names, scores, strict=True)),
        }

    def _decode_several(self, scores: list[float]) -> dict[str, Any]:
        named = dict(zip(self.label_names, scores, strict=True))
        chosen = [name for name, score in named.items() if score > 0.5]
        return {"prediction": chosen, "score": [named[name] for name in chosen], "scores": named}
