"""Show the progress of training: a progress bar, and a file for other processes."""

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from ftlit.runs.files import PROGRESS
from ftlit.training.cost import Cost
from ftlit.training.loss_log import LossLog
from ftlit.util.files import write_json


class RunProgressBar(TQDMProgressBar):
    """A progress bar with the loss, the monitored metric and examples per second.

    Args:
        loss: The callback that has the latest loss.
        cost: The callback that has the number of examples per second.
        monitor: The metric to show.
    """

    def __init__(self, loss: LossLog, cost: Cost, monitor: str) -> None:
        super().__init__(refresh_rate=10)
        self.loss, self.cost, self.monitor = loss, cost, monitor

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown: dict[str, Any] = {"loss": f"{self.loss.latest:.3f}"}
        if self.monitor in trainer.callback_metrics:
            shown[self.monitor] = f"{float(trainer.callback_metrics[self.monitor]):.4f}"
        return {**shown, "examples/s": f"{self.cost.rate() * trainer.world_size:.0f}"}


class ProgressFile(Callback):
    """Updates ``progress.json`` in the run folder, for other processes such as `ftlit study status`.

    Args:
        run_dir: The run's folder.
        every: Seconds between updates.
    """

    def __init__(self, run_dir: Path, every: float = 2.0) -> None:
        self.path, self.every = run_dir / PROGRESS, every
        self._started, self._next = time.time(), 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next and trainer.is_global_zero:
            self._next = now + self.every
            done = {"step": trainer.global_step, "steps": pl_module.total_steps, "started": self._started}
            write_json(self.path, done)
