"""What runs beside the training loop: loss log, predictions, progress."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor

from ftlit.cost import Cost
from ftlit.errors import UserError
from ftlit.files import write_json, write_text
from ftlit.ranks import every_rank


class LossLog(Callback):
    """Logs the loss of whole optimizer steps, over all devices, and stops when it is no number.

    One device stops at once. Several stop together, at the next step that is logged or saved, or at a validation: one that left
    alone would leave the others waiting for its gradients.
    """

    def __init__(self) -> None:
        self.latest = float("nan")
        self._sums: dict[str, Tensor] = {}
        self._unchecked: tuple[int, Tensor, Tensor] | None = None
        self._found: str | None = None  # what is wrong with a loss of this device

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._look(trainer)  # at the batch before, whose loss is ready by now, so that a GPU does not wait
        if trainer.world_size == 1:
            self.check(trainer)
        loss = outputs["loss"].detach()
        self._unchecked = (trainer.global_step, batch["ids"], loss)
        self._add(outputs, trainer.accumulate_grad_batches)
        if trainer.fit_loop._should_accumulate():
            return
        sums, self._sums = self._sums, {}
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            self.check(trainer)
            means = {name: float(trainer.strategy.reduce(value, reduce_op="mean")) for name, value in sums.items()}
            self.latest = means["loss"]
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            parts = {f"train/{name}": value for name, value in means.items()}
            values = {**parts, "train/lr": rate, "epoch": trainer.current_epoch}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)

    def _add(self, outputs: dict[str, Tensor], accumulate: int) -> None:
        """Take the loss of a batch into the step's, and the parts that the task gives beside it."""
        for name, value in outputs.items():
            part = value.detach() if name == "loss" else value / accumulate  # the loss is divided already
            self._sums[name] = self._sums[name] + part if name in self._sums else part

    def _look(self, trainer: Trainer) -> None:
        """Remember the first loss that is not finite, with the step and the ids of the batch's examples."""
        if self._unchecked is None:
            return
        (step, ids, loss), self._unchecked = self._unchecked, None
        if self._found is None and not torch.isfinite(loss):
            names = trainer.datamodule.names("train", ids.tolist())  # type: ignore[attr-defined]
            self._found = (
                f"the loss is {float(loss)} at step {step}, on the examples {', '.join(names)}; no checkpoint of it was "
                "written (try a lower model.optimizer.init_args.lr, trainer.gradient_clip_val, or trainer.precision: 32-true)"
            )

    def check(self, trainer: Trainer) -> None:
        """Stop if a loss was not finite; the same call on every rank.

        Raises:
            UserError: With the step and the ids of the batch's examples.
        """
        self._look(trainer)
        found = next((said for said in every_rank(trainer, self._found) if said), None)
        if found:
            raise UserError(found)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer)  # before its weights are measured and saved as the best


class Predictions(Callback):
    """Writes ``predictions/<split>.jsonl`` after an evaluation, a line an example in the order of the split.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / "predictions"
        self.enabled = True

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.keep_predictions = self.enabled and trainer.state.fn in ("validate", "test")

    on_test_start = on_validation_start

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.keep_predictions:
            self.write(trainer, "validation", pl_module.predictions)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.keep_predictions:
            self.write(trainer, "test", pl_module.predictions)

    def write(self, trainer: Trainer, split: str, found: dict[int, dict[str, Any]]) -> None:
        """Write what was found for each row; the same call on every rank."""
        if trainer.is_global_zero:
            data = trainer.datamodule  # type: ignore[attr-defined]
            lines = [json.dumps({**data.shown_at(split, i), **found[i]}, ensure_ascii=False) for i in found]
            write_text(self.folder / f"{split}.jsonl", "\n".join(lines) + "\n")
        trainer.strategy.barrier()


class Progress(TQDMProgressBar):
    """A progress bar with loss, the monitored metric and examples a second.

    Args:
        loss: Whose latest loss is shown.
        cost: Whose rate is shown.
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
    """Keeps ``progress.json`` of the run folder up to date, for those who watch from outside.

    Args:
        run_dir: The run's folder.
        every: Seconds from one time to the next.
    """

    def __init__(self, run_dir: Path, every: float = 2.0) -> None:
        self.path, self.every = run_dir / "progress.json", every
        self._started, self._next = time.time(), 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next and trainer.is_global_zero:
            self._next = now + self.every
            done = {"step": trainer.global_step, "steps": pl_module.total_steps, "started": self._started}
            write_json(self.path, done)
