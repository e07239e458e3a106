"""Show the progress of training: a progress bar or lines, and a file for other processes."""

import math
import sys
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

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
        return shown_values(trainer, self.loss, self.cost, self.monitor)


class EpochLines(ProgressBar):
    """Prints a line after each epoch, where the output is a file: a progress bar would fill it with a single endless line.

    Args:
        loss: The callback that has the latest loss.
        cost: The callback that has the number of examples per second.
        monitor: The metric to show.
    """

    is_enabled = False  # whether there is a bar, which Lightning asks before it prints a text beside it

    def __init__(self, loss: LossLog, cost: Cost, monitor: str) -> None:
        super().__init__()
        self.loss, self.cost, self.monitor = loss, cost, monitor

    def disable(self) -> None:
        """Do nothing: there is no bar to hide."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        of = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        values = shown_values(trainer, self.loss, self.cost, self.monitor)
        text = ", ".join(f"{name} {value}" for name, value in values.items())
        print(
            f"epoch {trainer.current_epoch + 1}{of}, step {trainer.global_step} of {pl_module.total_steps}: {text}", flush=True
        )


def progress_display(loss: LossLog, cost: Cost, monitor: str) -> ProgressBar:
    """A progress bar in terminals and notebooks, else lines."""
    drawn = sys.stdout.isatty() or "ipykernel" in sys.modules
    return (RunProgressBar if drawn else EpochLines)(loss, cost, monitor)


def shown_values(trainer: Trainer, loss: LossLog, cost: Cost, monitor: str) -> dict[str, str]:
    """The values to show by name; those that are not known yet are left out."""
    shown = {} if math.isnan(loss.latest) else {"loss": f"{loss.latest:.3f}"}
    if monitor in trainer.callback_metrics:
        shown[monitor] = f"{float(trainer.callback_metrics[monitor]):.4f}"
    return {**shown, "examples/s": f"{cost.rate() * trainer.world_size:.0f}"}


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
            write_json(self.path, done, durable=False)
