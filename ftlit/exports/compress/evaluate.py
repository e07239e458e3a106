"""Evaluate a task on a split, and compare its predictions with those of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer

from ftlit.data.shared.base import TaskData
from ftlit.metrics.direction import bounds
from ftlit.metrics.evidence import METRIC_SETTINGS
from ftlit.metrics.evidence.paired import paired_interval
from ftlit.metrics.evidence.rows import Rows
from ftlit.runs.reading import RunFolder
from ftlit.tasks import TaskModule
from ftlit.training.predictions import Predictions

ANSWERS = ("labels", "relations", "choices", "tags", "answers", "texts")  # kinds of evidence that are equal or not
ROUNDING = 1e-6  # of metrics, which are computed in single precision


@dataclass(frozen=True)
class Evaluated:
    """What a model answers on a split.

    Args:
        metrics: The metrics by name.
        rows: The prediction of each example, as in the run folder.
    """

    metrics: dict[str, float]
    rows: Rows


@dataclass(frozen=True)
class Judge:
    """What decides how much worse a model is than another: the metric that chose the checkpoint of the run.

    Args:
        metric: Name of the metric.
        higher: Whether its higher values are better.
        kind: Kind of evidence that predictions are.
        settings: Settings of the task that decide what the metric counts.
    """

    metric: str
    higher: bool
    kind: str | None
    settings: dict[str, Any]

    @classmethod
    def of(cls, task: TaskModule) -> "Judge":
        """The judge of a task."""
        settings = {key: task.hparams.get(key) for key in METRIC_SETTINGS}
        return cls(task.monitor.rpartition("/")[2], task.mode == "max", task.evidence, settings)

    def difference(self, one: Evaluated, other: Evaluated) -> float:
        """The metric of another model minus that of one."""
        return other.metrics[self.metric] - one.metrics[self.metric]

    def interval(self, one: Evaluated, other: Evaluated) -> tuple[float, float] | None:
        """The 95% interval of `difference`; None if predictions do not tell."""
        return paired_interval(self.kind, self.metric, one.rows, other.rows, self.settings)

    def loss(self, one: Evaluated, other: Evaluated) -> float:
        """How much worse another model is: a difference of shares or correlations, a share of the value of other metrics."""
        return self.difference(one, other) * (-1 if self.higher else 1) / self.unit(one)

    def loss_interval(self, one: Evaluated, other: Evaluated) -> tuple[float, float] | None:
        """The 95% interval of `loss`; None if predictions do not tell."""
        if (ends := self.interval(one, other)) is None:
            return None
        low, high = sorted(end * (-1 if self.higher else 1) / self.unit(one) for end in ends)
        return low, high

    @property
    def is_limited(self) -> bool:
        """Whether the metric is a share or a correlation, whose differences count as they are."""
        return abs(bounds(self.metric)[1]) == 1

    def unit(self, one: Evaluated) -> float:
        """What `loss` counts in: 1 for shares and correlations, the value of the model for other metrics."""
        return 1.0 if self.is_limited else abs(one.metrics[self.metric]) or 1.0


def fits(loss: float, max_drop: float | None) -> bool:
    """Whether a loss is small enough; no loss is too large without a limit, and NaN never fits one."""
    return max_drop is None or loss <= max_drop + ROUNDING


def evaluate(task: TaskModule, data: TaskData, split: str, work: Path, accelerator: str = "cpu") -> Evaluated:
    """Evaluate a task on one device.

    Args:
        task: The task.
        data: The data of the run.
        split: `validation` or `test`.
        work: Folder for the predictions.
        accelerator: The device, as Lightning names it.
    """
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    trainer = Trainer(accelerator=accelerator, devices=1, callbacks=[Predictions(work)], default_root_dir=work, **quiet)  # type: ignore[arg-type]
    task.lightning_logs = False  # there is no logger
    run = trainer.validate if split == "validation" else trainer.test
    run(task, datamodule=data, verbose=False)
    metrics = {key.partition("/")[2]: float(value) for key, value in trainer.callback_metrics.items()}
    return Evaluated(metrics, RunFolder(work).prediction_rows(split))


def agreement(kind: str | None, one: Rows, other: Rows) -> float | None:
    """The share of answers that two models have in common: of words if words are tagged, else of examples.

    Args:
        kind: Kind of evidence that the predictions are. Numbers and probabilities of tokens have no agreement.
        one: The predictions of a model.
        other: The predictions of another model for the same examples, in the same order.
    """
    if kind not in ANSWERS:
        return None
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in _answers(a, b, kind == "tags")]
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def _answers(a: dict[str, Any], b: dict[str, Any], of_words: bool) -> Sequence[tuple[Any, Any]]:
    if of_words:
        key = "tags" if "tags" in a else "prediction"
        return list(zip(a[key], b[key], strict=True))
    return [(a["prediction"], b["prediction"])]
