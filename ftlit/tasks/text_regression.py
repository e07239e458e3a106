"""Text regression: a number for a text or a pair of texts."""

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import MetricCollection
from transformers import AutoModelForSequenceClassification

from ftlit.losses import MSE, Huber, Loss
from ftlit.metrics.exact.regression import MeanError, Pearson, Spearman
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Outputs


class TextRegression(TaskModule):
    """Predicts a number for a text or a pair of texts, such as a grade or a similarity.

    The model predicts the standardised number, so that learning rates do not depend on the unit of the target.

    Args:
        label_scale: Taken from the data: mean and standard deviation of the target in train.
    """

    evidence: ClassVar[str | None] = "values"
    auto_class = AutoModelForSequenceClassification
    takes_teacher = teaches_texts = True
    lesson_unit = "example"
    loss_kinds: tuple[type[Loss], ...] = (MSE, Huber)

    def __init__(self, label_scale: list[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.deviation = label_scale or (0.0, 1.0)

    def model_config(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    @property
    def constant_prediction(self) -> float:
        """The mean of train."""
        return self.mean

    @property
    def default_monitor(self) -> str:
        return "val/pearson"

    def default_loss(self) -> Loss:
        return MSE()

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        # Standardised in double precision: large numbers that differ by little would be the same in single precision.
        return self.loss(logits, ((batch["labels"].double() - self.mean) / self.deviation).float())

    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return the numbers that this task predicts in the unit of the target, ``(batch, 1)``."""
        return super().lessons(batch).double() * self.deviation + self.mean

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        return MSE()(logits, ((lessons.squeeze(1) - self.mean) / self.deviation).float())

    def build_metrics(self) -> MetricCollection:
        errors = {"mse": MeanError(2), "rmse": MeanError(2, root=True), "mae": MeanError(1)}
        return MetricCollection({**errors, "pearson": Pearson(), "spearman": Spearman()}, compute_groups=False)

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        outputs = super().evaluate_batch(batch)
        predicted = outputs.scores.squeeze(1).double() * self.deviation + self.mean
        return replace(outputs, predicted=predicted, targets=outputs.targets.double())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if known := checkpoint.get("hyper_parameters", {}).get("label_scale"):
            self.mean, self.deviation = known  # of the data that it was trained on

    def prediction_types(self) -> dict[str, Any]:
        return {"prediction": float}

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [{"prediction": value * self.deviation + self.mean} for value in logits.squeeze(1).tolist()]
