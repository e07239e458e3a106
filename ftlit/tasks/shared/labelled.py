"""Base class of tasks that predict labels from a list."""

from dataclasses import replace
from typing import Any, ClassVar

from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric, classification
from transformers import AutoModelForSequenceClassification

from ftlit.losses import CrossEntropy, Loss
from ftlit.metrics.per_class import per_class
from ftlit.runs.checkpoint import check_labels
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Evaluator, Outputs
from ftlit.tasks.shared.teacher import LessonUnit


class LabelledTask(TaskModule):
    """Base class of tasks that predict labels from a list, by default one for each example.

    Args:
        label_names: Taken from the data: the labels in the order of their ids.
        label_counts: Taken from the data: the number of training examples with each label, followed by their total number.
    """

    auto_class: Any = AutoModelForSequenceClassification
    weighted: ClassVar[bool] = True
    takes_teacher = True
    lesson_unit: LessonUnit | None = "example"
    problem_type: str | None = "single_label_classification"  # of transformers' configuration; None leaves it out
    class_weights: Tensor | None

    def __init__(self, label_names: list[str] | None = None, label_counts: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_names, self.label_counts = label_names or [], label_counts

    def prepare(self) -> None:
        super().prepare()
        self.register_buffer("class_weights", self._weights(self.label_counts), persistent=False)

    def _weights(self, label_counts: list[int] | None) -> Tensor | None:
        """The weight of each class. Without train, the counts are unknown until a checkpoint with them is loaded."""
        *counts, every = label_counts or [0] * (len(self.label_names) + 1)
        return self.loss.weights(counts, every)

    def model_config(self) -> dict[str, Any]:
        names = dict(enumerate(self.label_names))
        config = {"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}}
        return config if self.problem_type is None else {**config, "problem_type": self.problem_type}

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.loss(logits, batch["labels"], self.class_weights)

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.distillation(logits, lessons)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_labels(checkpoint, self.label_names)
        known = checkpoint.get("hyper_parameters", {}).get("label_counts")
        if known and self._trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            self.class_weights = self._weights(known)  # with the class weights of training, even on other data

    @property
    def constant_prediction(self) -> Any:
        """The most frequent label of train, or None without train."""
        *counts, every = self.label_counts or [0]
        return self.label_names[counts.index(max(counts))] if every else None

    # Evaluation of one label for each example

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each label, ``(batch, labels)``."""
        return logits.softmax(-1)

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        # Given logits, torchmetrics would guess for each batch whether they are probabilities.
        outputs = super().evaluate_batch(batch)
        return replace(outputs, predicted=self.probabilities(outputs.scores))

    def build_confusion(self) -> Metric | None:
        return classification.MulticlassConfusionMatrix(len(self.label_names))

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        assert evaluation.confusion is not None
        matrix = evaluation.confusion.compute().tolist()
        return {"per_class": per_class(matrix, self.label_names), "confusion": matrix, "labels": self.label_names}

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [self._decode_one(row) for row in self.probabilities(logits).tolist()]

    def prediction_types(self) -> dict[str, Any]:
        return {"prediction": str, "score": float, "scores": dict.fromkeys(self.label_names, float)}

    def _decode_one(self, scores: list[float]) -> dict[str, Any]:
        best = max(range(len(scores)), key=scores.__getitem__)
        return {
            "prediction": self.label_names[best],
            "score": scores[best],
            "scores": dict(zip(self.label_names, scores, strict=True)),
        }
