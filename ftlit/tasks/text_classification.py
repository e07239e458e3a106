"""Text classification: one or several labels for a text or a pair of texts."""

from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import Metric, MetricCollection, classification

from ftlit.losses import BCE, Loss
from ftlit.metrics.auroc import MacroMulticlassAUROC, MacroMultilabelAUROC
from ftlit.metrics.exact.mcc import MulticlassMatthews, MultilabelMatthews
from ftlit.tasks.shared.labelled import LabelledTask


class TextClassification(LabelledTask):
    """Predicts the label or labels of a text or a pair of texts.

    Args:
        multi_label: Whether a text may have any number of labels.
    """

    evidence: ClassVar[str | None] = "labels"
    teaches_texts = True

    def __init__(self, multi_label: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multi_label = multi_label
        if multi_label:
            self.loss_kinds, self.problem_type = (BCE,), "multi_label_classification"

    @property
    def default_monitor(self) -> str:
        return "val/f1_macro" if self.multi_label else "val/accuracy"

    def default_loss(self) -> Loss:
        return BCE() if self.multi_label else super().default_loss()

    @property
    def constant_prediction(self) -> Any:
        """The most frequent label of train; with several labels per text, those of more than half of its texts."""
        if not self.multi_label or not self.label_counts:
            return super().constant_prediction
        *counts, every = self.label_counts
        return [name for name, count in zip(self.label_names, counts, strict=True) if 2 * count > every]

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
        metrics["mcc"] = (MultilabelMatthews if self.multi_label else MulticlassMatthews)(n)
        return MetricCollection(metrics)

    def build_confusion(self) -> Metric | None:
        """Build the confusion matrix: ``(labels, labels)``, or ``(labels, 2, 2)`` for several labels per text."""
        return (
            classification.MultilabelConfusionMatrix(len(self.label_names)) if self.multi_label else super().build_confusion()
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.multi_label else super().probabilities(logits)

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        if not self.multi_label:
            return super().taught_losses(logits, lessons, batch)
        return self.distillation.of_each_label(logits, lessons)

    def prediction_types(self) -> dict[str, Any]:
        found = super().prediction_types()
        return {**found, "prediction": [str], "score": [float]} if self.multi_label else found

    def _decode_one(self, scores: list[float]) -> dict[str, Any]:
        if not self.multi_label:
            return super()._decode_one(scores)
        named = dict(zip(self.label_names, scores, strict=True))
        chosen = [name for name, score in named.items() if score > 0.5]
        return {"prediction": chosen, "score": [named[name] for name in chosen], "scores": named}
