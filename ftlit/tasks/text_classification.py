"""Text classification: one label or several for a text or a pair of texts."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import MetricCollection, classification

from ftlit.losses import BCE, Loss
from ftlit.metrics.auroc import MacroMulticlassAUROC, MacroMultilabelAUROC
from ftlit.tasks.shared.classification import Classification


class TextClassification(Classification):
    """Labels for a text or a pair of texts.

    Args:
        multi_label: Whether a text may have any number of labels.
    """

    evidence: ClassVar[str | None] = "labels"

    def __init__(self, multi_label: bool = False, **kwargs: Any) -> None:
        self.multi_label = multi_label  # before the default loss and monitor, which depend on it
        if multi_label:
            self.loss_kinds = (BCE,)  # type: ignore[misc]
        super().__init__(**kwargs)

    @property
    def problem_type(self) -> str:
        return "multi_label_classification" if self.multi_label else super().problem_type

    @property
    def default_monitor(self) -> str:
        return "val/f1_macro" if self.multi_label else "val/accuracy"

    def default_loss(self) -> Loss:
        return BCE() if self.multi_label else super().default_loss()

    def build_metrics(self) -> MetricCollection:
        n, kind = len(self.label_names), "Multilabel" if self.multi_label else "Multiclass"
        size = {"num_labels" if self.multi_label else "num_classes": n}
        make = {name: getattr(classification, kind + name) for name in ("Precision", "Recall", "F1Score")}
        metrics: dict[str, Any] = {}
        if self.multi_label:  # accuracy is the share of texts whose labels are all right
            metrics["accuracy"] = classification.MultilabelExactMatch(n)
        else:
            metrics["accuracy"] = classification.MulticlassAccuracy(n, average="micro")
        for average in ("macro", "micro", "weighted"):
            for name in ("Precision", "Recall", "F1Score"):
                metrics[f"{name.removesuffix('Score').lower()}_{average}"] = make[name](**size, average=average)
        metrics["auroc"] = (MacroMultilabelAUROC if self.multi_label else MacroMulticlassAUROC)(n)
        metrics["mcc"] = getattr(classification, f"{kind}MatthewsCorrCoef")(n)
        return MetricCollection(metrics)

    def metric_inputs(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return (logits.sigmoid(), labels) if self.multi_label else super().metric_inputs(logits, labels)

    def confusion(self) -> Any:
        """The confusion matrix: ``(labels, labels)``, or ``(labels, 2, 2)`` for several labels a text."""
        return classification.MultilabelConfusionMatrix(len(self.label_names)) if self.multi_label else super().confusion()

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        if self.multi_label:
            return [self._decode_several(row) for row in torch.sigmoid(logits).tolist()]
        return super().decode(logits, batch)

    def _decode_several(self, scores: list[float]) -> dict[str, Any]:
        named = dict(zip(self.label_names, scores, strict=True))
        chosen = [name for name, score in named.items() if score > 0.5]
        return {"prediction": chosen, "score": [named[name] for name in chosen], "scores": named}
