"""Sum and log the training loss of optimizer steps, which may consist of several batches."""

from typing import Any

from torch import Tensor

from ftlit.util.private import is_accumulating


class StepLoss:
    """Sums the loss over the batches of an optimizer step, and likewise the parts of the loss that a task returns."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, outputs: dict[str, Tensor], accumulate: int) -> None:
        """Add the loss of a batch.

        Args:
            outputs: The outputs of the training step as passed to hooks; Lightning has divided `loss` by `accumulate`.
            accumulate: Number of batches per optimizer step.
        """
        for name, value in outputs.items():
            part = value.detach() if name == "loss" else value / accumulate
            self.sums[name] = self.sums[name] + part if name in self.sums else part

    def take(self) -> dict[str, Tensor]:
        """Return the sums of the step, and reset them to zero."""
        sums, self.sums = self.sums, {}
        return sums


def log_loss(module: Any, step: StepLoss, outputs: Any) -> None:
    """Log ``train/loss`` of each optimizer step with Lightning, for loggers, progress bars and callbacks.

    Args:
        module: The task.
        step: The sums of the current step.
        outputs: The outputs of the training step for a batch.
    """
    if not module.lightning_logs:
        return
    trainer = module.trainer
    step.add(outputs, trainer.accumulate_grad_batches)
    if not is_accumulating(trainer):
        values = {f"train/{name}": value for name, value in step.take().items()}
        module.log_dict(values, prog_bar=True, batch_size=1, sync_dist=trainer.world_size > 1)
