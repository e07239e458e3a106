"""The training loss of whole optimizer steps, which may take several batches."""

from typing import Any

from torch import Tensor

from ftlit.util.private import is_accumulating


class StepLoss:
    """Adds up the loss of the batches of an optimizer step, and the parts that a task returns beside it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, outputs: dict[str, Tensor], accumulate: int) -> None:
        """Take the loss of a batch into that of the step.

        Args:
            outputs: What the training step returned, as hooks see it: Lightning has divided `loss` by `accumulate`.
            accumulate: Batches of a step.
        """
        for name, value in outputs.items():
            part = value.detach() if name == "loss" else value / accumulate
            self.sums[name] = self.sums[name] + part if name in self.sums else part

    def take(self) -> dict[str, Tensor]:
        """The sums of the step, from which the next one starts at zero."""
        sums, self.sums = self.sums, {}
        return sums


def log_loss(module: Any, step: StepLoss, outputs: Any) -> None:
    """Log ``train/loss`` of each optimizer step through Lightning, for loggers, progress bars and callbacks.

    Args:
        module: The task.
        step: Its sums.
        outputs: What the training step returned for a batch.
    """
    trainer = module.trainer
    step.add(outputs, trainer.accumulate_grad_batches)
    if not is_accumulating(trainer):
        values = {f"train/{name}": value for name, value in step.take().items()}
        module.log_dict(values, prog_bar=True, batch_size=1, sync_dist=trainer.world_size > 1)
