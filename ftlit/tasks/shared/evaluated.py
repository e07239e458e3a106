"""How every task is evaluated: metrics that add up over batches, and those of whole predictions from all ranks."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MetricCollection

from ftlit.metrics.weighted_mean import WeightedMean
from ftlit.util.batch import FILLER


class Evaluated(LightningModule, ABC):
    """A model with metrics for the splits `val` and `test`."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: Any = nn.ModuleDict()
        self.keep_predictions = False
        self.last_report: dict[str, Any] = {}
        self.predictions: dict[int, dict[str, Any]] = {}  # of the last evaluation by row, over all ranks
        self.references: dict[int, Any] = {}
        self._parts: dict[int, dict[int, tuple[dict[str, Any], Any]]] = {}

    def add_metrics(self) -> None:
        """Make the metrics of both splits."""
        for split in ("val", "test"):
            self.metrics[split] = self.build_metrics()
            self.metrics[f"{split}_loss"] = WeightedMean()

    # What a task defines

    @abstractmethod
    def logits(self, batch: dict[str, Any]) -> Tensor:
        """What the head gives for a batch, ``(batch, labels)`` where an example has one answer."""

    @abstractmethod
    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """The loss of each example, ``(batch,)``, summed over its labelled tokens where it has several."""

    def build_metrics(self) -> MetricCollection:
        """The metrics of one split that add up over batches; `update` takes what `metric_inputs` gives."""
        return MetricCollection({})

    def metric_inputs(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What the metrics compare, from logits ``(batch, labels)`` and labels."""
        return logits, labels

    @abstractmethod
    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """What the model says of each example: at least the key `prediction`; None for one that is passed over."""

    def decoded(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """The same for a batch without labels."""
        return self.decode(self.logits(batch).float(), batch)

    def assemble(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The prediction of a row, from those of its features in their order."""
        return parts[0]

    def whole_reference(self, parts: list[Any]) -> Any:
        """The right answer of a row, from what its features have as `reference`."""
        return parts[0]

    def answer(self, parts: list[dict[str, Any]]) -> None:
        """Complete the kept predictions of this rank at the end of an evaluation, where a task makes them together."""

    # Metrics that need whole predictions are `summary_names`, computed by `summarise` once those of all ranks are together.

    summary_names: ClassVar[tuple[str, ...]] = ()

    def collects(self, split: str) -> bool:
        """Whether this evaluation needs every prediction for its metrics."""
        return bool(self.summary_names)

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        """Metrics that follow from the others, or from `predictions`, `references` and `last_report`."""
        return {}

    def report(self, split: str) -> dict[str, Any]:
        """Findings beyond single numbers, computed on all ranks after an evaluation: see `ftlit.commands.report`."""
        return {}

    # Steps

    def evaluation_step(self, batch: dict[str, Any], split: str) -> None:
        """Take a batch into the split's metrics, unless it only keeps this rank in step with the others."""
        logits = self.logits(batch).float()
        if batch["loss_denominator"] == FILLER:
            self._touch(split, logits, batch["labels"])
        else:
            self.update(split, logits, batch)

    def update(self, split: str, logits: Tensor, batch: dict[str, Any]) -> None:
        """Take the logits of a batch into the split's metrics, and keep its predictions where they are needed."""
        self.record(split, self.losses(logits, batch), logits, batch)

    def record(self, split: str, losses: Tensor, logits: Tensor, batch: dict[str, Any]) -> None:
        """The same with the losses of the examples, ``(batch,)``, known."""
        self.metrics[f"{split}_loss"].update(losses, batch.get("loss_weights", torch.ones_like(losses)))
        self.update_metrics(split, *self.metric_inputs(logits, batch["labels"]))
        if self.keep_predictions or self.collects(split):
            self._keep(self.decode(logits, batch), batch)

    def update_metrics(self, split: str, predicted: Tensor, labels: Tensor) -> None:
        """Take what `metric_inputs` gave into the split's metrics."""
        if len(self.metrics[split]):
            self.metrics[split].update(predicted, labels)

    def _keep(self, decoded: list[dict[str, Any] | None], batch: dict[str, Any]) -> None:
        references = batch["metadata"].get("reference", [None] * len(decoded))
        places = zip(batch["ids"].tolist(), batch["feature_ids"].tolist(), strict=True)
        for (row, feature), part, reference in zip(places, decoded, references, strict=True):
            if part is not None:
                self._parts.setdefault(row, {})[feature] = (part, reference)

    def _gather(self) -> None:
        """Bring the kept predictions of all ranks together."""
        parts, self._parts = self._parts, {}
        self.answer([part for features in parts.values() for part, _ in features.values()])
        if self.trainer.world_size > 1:
            found: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(found, parts)
            parts = {row: {} for rank in found for row in rank}
            for rank in found:
                for row, features in rank.items():
                    parts[row] |= features
        whole = {row: [parts[row][feature] for feature in sorted(parts[row])] for row in sorted(parts)}
        self.predictions = {row: self.assemble([part for part, _ in found]) for row, found in whole.items()}
        self.references = {row: self.whole_reference([part for _, part in found]) for row, found in whole.items()}

    def _touch(self, split: str, logits: Tensor, labels: Tensor) -> None:
        """Give no example to metrics that keep lists: a rank without any must still know their shape and type."""
        preds, target = self.metric_inputs(logits, labels)
        for metric in self.metrics[split].values():
            if any(isinstance(state, list) for state in metric.metric_state.values()):
                metric.update(preds[:0], target[:0])

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluation_step(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluation_step(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self.finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self.finish_evaluation("test")

    def finish_evaluation(self, split: str) -> None:
        """Compute and log the split's metrics over all ranks."""
        self._gather()
        computed = {"loss": self.metrics[f"{split}_loss"].compute(), **self.metrics[split].compute()}
        values = {key: float(value) for key, value in computed.items()}
        self.last_report = self.report(split)
        values |= self.summarise(split, values)
        with torch.inference_mode(False):  # states made inside it could not be updated outside
            for name, metric in self.metrics.items():
                if name.split("_")[0] == split:
                    metric.reset()
        numbers = {f"{split}/{key}": value for key, value in values.items()}
        self.log_dict(numbers, logger=False)
        if self.trainer.state.fn != "validate" and not self.trainer.sanity_checking:
            epoch = {"epoch": self.current_epoch} if self.trainer.state.fn == "fit" else {}  # a best checkpoint's is another
            for logger in self.trainer.loggers:
                logger.log_metrics({**numbers, **epoch}, step=self.global_step)
