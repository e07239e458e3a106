"""Evaluate a task on one split: compute metrics over batches, gather predictions from all ranks, and log the results."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError, near
from ftlit.metrics.direction import higher_is_better, lower_is_better
from ftlit.metrics.weighted_mean import WeightedMean
from ftlit.util.batch import FILLER
from ftlit.util.label_sets import with_highest_scores

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule

FeaturePart = tuple[dict[str, Any], Any]  # the prediction and the reference of one feature


@dataclass(frozen=True)
class Outputs:
    """The outputs of a task for a batch with labels.

    Args:
        losses: The loss of each example, ``(batch,)``.
        scores: The input of the task's `decode`, which are the logits in most tasks.
        predicted: The predictions that the metrics compare with `targets`.
        targets: The targets of the metrics.
        means: Values and weights of the examples, ``(batch,)`` each, by the names in the task's `mean_names`.
    """

    losses: Tensor
    scores: Tensor
    predicted: Tensor
    targets: Tensor
    means: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class EvaluatedModule(nn.Module):
    """A module that evaluates itself on splits.

    Its own buffers, such as class weights, keep their precision when the model is converted to bfloat16.
    """

    evaluators: Any
    trainer: Any
    corpus_metric_names: tuple[str, ...]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        kept = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            moved = self._buffers[name]
            assert moved is not None
            self._buffers[name] = buffer.to(moved.device)
        return self

    @property
    def metric_names(self) -> list[str]:
        """Names of the metrics that an evaluation logs."""
        return ["loss", *self.evaluators["val"].metrics, *self.corpus_metric_names]

    @property
    def mode(self) -> str:
        """Whether the monitored metric is better when lower (`min`) or higher (`max`)."""
        return monitor_mode(self)  # type: ignore[arg-type]

    @property
    def is_fitting(self) -> bool:
        """Whether this evaluation is part of training."""
        return self.trainer.state.fn == "fit"

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluators["val"].update(self, batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluators["test"].update(self, batch)

    def on_validation_epoch_end(self) -> None:
        self.evaluators["val"].finish(self)

    def on_test_epoch_end(self) -> None:
        self.evaluators["test"].finish(self)


class Evaluator(nn.Module):
    """Evaluates a task on one split, and logs the metrics over all ranks.

    Args:
        split: `val` or `test`.
        task: The task, which builds its metrics.
    """

    def __init__(self, split: str, task: "TaskModule") -> None:
        super().__init__()
        self.split, self.metrics, self.confusion = split, task.build_metrics(), task.build_confusion()
        self.means = nn.ModuleDict({name: WeightedMean() for name in ("loss", *task.mean_names)})
        self.predictions: dict[int, dict[str, Any]] = {}  # by row, over all ranks, from the last evaluation
        self.references: dict[int, Any] = {}
        self.details: dict[str, Any] = {}
        self._parts: dict[int, dict[int, FeaturePart]] = {}

    def mean(self, name: str) -> float:
        """The mean with this name over all examples so far."""
        return float(self.means[name].compute())  # type: ignore[operator]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the metrics to another device, but never to another precision: in bfloat16, a sum stops at 256 ones."""
        return super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), recurse)

    # Batches

    def update(self, task: "TaskModule", batch: dict[str, Any]) -> None:
        """Evaluate a batch, and keep its predictions if they are needed. A filler batch is ignored."""
        outputs = task.evaluate_batch(batch)
        if batch["loss_denominator"] == FILLER:
            self._update_with_no_examples(outputs)
            return
        self._measure(outputs, batch)
        if task.keep_predictions or task.needs_predictions():
            self._keep(task.decode(outputs.scores, batch), batch)

    def _measure(self, outputs: Outputs, batch: dict[str, Any]) -> None:
        losses = outputs.losses
        loss = (losses, batch.get("loss_weights", torch.ones_like(losses)))
        for name, (values, weights) in {"loss": loss, **outputs.means}.items():
            self.means[name].update(values, weights)  # type: ignore[operator]
        if len(self.metrics):
            self.metrics.update(outputs.predicted, outputs.targets)
        if self.confusion is not None:
            self.confusion.update(outputs.predicted, outputs.targets)

    def _update_with_no_examples(self, outputs: Outputs) -> None:
        """Update metrics that keep lists: a rank without examples must still know the shape and type of the entries."""
        for metric in self.metrics.values():
            if any(isinstance(state, list) for state in metric.metric_state.values()):
                metric.update(outputs.predicted[:0], outputs.targets[:0])

    def _keep(self, decoded: list[dict[str, Any] | None], batch: dict[str, Any]) -> None:
        references = batch["metadata"].get("reference", [None] * len(decoded))
        places = zip(batch["ids"].tolist(), batch["feature_ids"].tolist(), strict=True)
        for (row, feature), part, reference in zip(places, decoded, references, strict=True):
            if part is not None:
                self._parts.setdefault(row, {})[feature] = (with_highest_scores(part), reference)

    # The end of an evaluation

    def finish(self, task: "TaskModule") -> None:
        """Compute and log the metrics over all ranks, and reset them."""
        self.gather(task)
        values = {"loss": self.mean("loss"), **{name: float(value) for name, value in self.metrics.compute().items()}}
        self.details = task.evaluation_details(self)
        values |= task.corpus_metrics(self)
        self._reset()
        self._log(task, {f"{self.split}/{name}": value for name, value in values.items()})

    def gather(self, task: "TaskModule") -> None:
        """Gather the predictions of all ranks, and merge them into one prediction for each row."""
        parts, self._parts = self._parts, {}
        task.generate_predictions([part for features in parts.values() for part, _ in features.values()])
        if task.trainer.world_size > 1:
            parts = _from_all_ranks(parts, task.trainer.world_size)
        rows = {row: [parts[row][feature] for feature in sorted(parts[row])] for row in sorted(parts)}
        self.predictions = {row: task.merge_windows([part for part, _ in found]) for row, found in rows.items()}
        self.references = {row: task.merge_references([part for _, part in found]) for row, found in rows.items()}

    def _reset(self) -> None:
        with torch.inference_mode(False):  # states that are reset in inference mode could not be updated outside of it
            for metric in (self.metrics, *self.means.values(), *([] if self.confusion is None else [self.confusion])):
                metric.reset()  # type: ignore[operator]

    def _log(self, task: "TaskModule", numbers: dict[str, float]) -> None:
        task.log_dict(numbers, logger=task.lightning_logs)
        trainer = task.trainer
        if not task.lightning_logs and trainer.state.fn != "validate" and not trainer.sanity_checking:
            epoch = {"epoch": task.current_epoch} if task.is_fitting else {}  # the best checkpoint may be from another epoch
            for logger in trainer.loggers:
                logger.log_metrics({**numbers, **epoch}, step=task.global_step)


def _from_all_ranks(parts: dict[int, dict[int, FeaturePart]], world_size: int) -> dict[int, dict[int, FeaturePart]]:
    """Gather the features of each row from all ranks."""
    found: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(found, parts)
    together: dict[int, dict[int, FeaturePart]] = {row: {} for rank in found for row in rank}
    for rank in found:
        for row, features in rank.items():
            together[row] |= features
    return together


# The monitored metric


def of_validation(metric: str) -> str:
    """The name under which a metric of validation is logged, which users may shorten to that in results.json."""
    return metric if "/" in metric else f"val/{metric}"


def monitor_mode(task: "TaskModule") -> str:
    """Return whether the monitored metric is better when lower (`min`) or higher (`max`).

    Raises:
        UserError: The task has no such metric, or nothing says which values are better.
    """
    known = [f"val/{name}" for name in task.metric_names]
    if task.monitor not in known:
        raise UserError(f"model.monitor {task.monitor!r} is not a metric of this task. {near(task.monitor, known)}")
    try:
        return "min" if lower_is_better(task.monitor, task.evaluators["val"].metrics, task.higher_is_better) else "max"
    except UserError as error:
        raise UserError(f"model.monitor {error}") from error


def metric_directions(task: "TaskModule") -> dict[str, bool]:
    """Return whether higher values are better, by the name of each metric of a task for which this is known."""
    metrics = task.evaluators["val"].metrics
    known = {name: higher_is_better(name, metrics, task.higher_is_better) for name in task.metric_names}
    return {name: higher for name, higher in known.items() if higher is not None}


def check_callbacks(callbacks: Iterable[Any], task: "TaskModule") -> None:
    """Check that callbacks such as EarlyStopping do not wait for worse values of a metric.

    Raises:
        UserError: The mode of a callback contradicts the metric that it monitors.
    """
    metrics = task.evaluators["val"].metrics
    for callback in callbacks:
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        higher = higher_is_better(monitor, metrics, task.higher_is_better) if monitor else None
        if higher is not None and mode in ("min", "max") and (mode == "max") != higher:
            raise UserError(
                f"trainer.callbacks: {type(callback).__name__} monitors {monitor!r} with mode {mode!r}, but its "
                f"{'higher' if higher else 'lower'} values are better; set its mode to {'max' if higher else 'min'}"
            )
