"""Log the training loss, and check that it is finite."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ftlit.errors import UserError
from ftlit.tasks.shared.training import StepLoss
from ftlit.training.distributed import every_rank
from ftlit.util.private import is_accumulating


class LossLog(Callback):
    """Logs the loss of optimizer steps over all devices, and stops training if a loss is NaN or infinite.

    A single device stops at once. Several devices stop together, at the next step that is logged or saved or at the next
    validation: if one stopped alone, the others would wait for its gradients forever.
    """

    def __init__(self) -> None:
        self.latest = float("nan")
        self._step = StepLoss()
        self._unchecked: tuple[int, Tensor, Tensor] | None = None
        self._found: str | None = None  # error message for the first NaN or infinite loss of this device

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        pl_module.lightning_logs = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._look(trainer)  # checks the previous batch, whose loss is ready by now, so that a GPU does not wait
        if trainer.world_size == 1:
            self.check(trainer)
        loss = outputs["loss"].detach()
        self._unchecked = (trainer.global_step, batch["ids"], loss)
        self._step.add(outputs, trainer.accumulate_grad_batches)
        if is_accumulating(trainer):
            return
        sums = self._step.take()
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            self.check(trainer)
            means = {name: float(trainer.strategy.reduce(value, reduce_op="mean")) for name, value in sums.items()}
            self.latest = means["loss"]
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            parts = {f"train/{name}": value for name, value in means.items()}
            pl_module.log_dict(parts, logger=False, batch_size=1)  # for callbacks, which may monitor it
            values = {**parts, "train/lr": rate, "epoch": trainer.current_epoch}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)

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
        """Stop training if a loss was not finite on any rank. Every rank must call this at the same step.

        Raises:
            UserError: A loss is NaN or infinite. The message has the step and the ids of the batch's examples.
        """
        self._look(trainer)
        found = next((said for said in every_rank(trainer, self._found) if said), None)
        if found:
            raise UserError(found)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer)  # before its weights are measured and saved as the best
