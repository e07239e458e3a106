"""A task of a user: how many stars a review gives, by the thresholds that its score passes."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection, regression
from transformers import AutoModelForSequenceClassification

from ftlit.losses import BCE
from ftlit.tasks import Outputs, TaskModule


class Stars(TaskModule):
    """A number of stars, from 0 to `most`."""

    auto_class = AutoModelForSequenceClassification
    loss_kinds = (BCE,)

    def __init__(self, most: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    def model_config(self) -> dict[str, Any]:
        return {"num_labels": self.most}

    def default_loss(self) -> BCE:
        return BCE()

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.loss(logits, batch["labels"].unsqueeze(1) > torch.arange(self.most, device=logits.device))

    def build_metrics(self) -> MetricCollection:
        return MetricCollection({"mae": regression.MeanAbsoluteError()})

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        outputs = super().evaluate_batch(batch)
        return replace(outputs, predicted=(outputs.scores > 0).sum(1))

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [{"prediction": stars} for stars in (logits > 0).sum(1).tolist()]
