"""Train a task: check its settings, compute and log the loss, and build the optimizer and its schedule."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ftlit.errors import UserError
from ftlit.losses import Loss
from ftlit.optimization.optimizer import build_optimizer
from ftlit.optimization.schedule import build_schedule, check_lr_schedule, finite_steps
from ftlit.tasks.shared.teacher import check_distillation
from ftlit.util.batch import BOOKKEEPING
from ftlit.util.private import is_accumulating, replaces_samplers

if TYPE_CHECKING:
    from lightning import Trainer

    from ftlit.tasks.shared.base import TaskModule


def check_settings(task: "TaskModule") -> None:
    """Check the settings that all tasks share. Losses defined by users are not checked.

    Raises:
        UserError: A setting is out of range, or the loss does not fit the task.
    """
    check_lr_schedule(task.schedule, task.warmup_ratio)
    if not task.pretrained and not task.tuning.trains_everything:
        raise UserError(f"model.pretrained is false: random weights must all train, but {task.tuning} would freeze some")
    _check_loss(task)
    check_distillation(task)


def _check_loss(task: "TaskModule") -> None:
    name, kind = type(task).__name__, type(task.loss)
    if kind.__module__ == Loss.__module__ and not isinstance(task.loss, task.loss_kinds):
        fitting = " or ".join(known.__name__ for known in task.loss_kinds)
        raise UserError(f"model.loss {kind.__name__} does not fit {name}; use {fitting}")
    if task.loss.class_weights is not None and not task.weighted:
        raise UserError(f"model.loss.class_weights weighs the labels of a list, and {name} has none; leave it out")
    if getattr(task.loss, "label_smoothing", 0) and not task.smoothed:
        raise UserError(f"model.loss.label_smoothing does not fit {name}, whose texts have different numbers of classes")
    if task.auxiliary and not task.takes_auxiliary:
        raise UserError(f"model.auxiliary adds a loss on the texts, which {name} has already; leave it out")


def check_trainer(trainer: "Trainer") -> None:
    """Check that a trainer does not replace the batches of the data module.

    Raises:
        UserError: The trainer would replace them.
    """
    if replaces_samplers(trainer):
        raise UserError(
            "trainer.use_distributed_sampler must be False: the data module assigns examples to each device, and "
            "Lightning's sampler would replace its batches"
        )


def check_blocks(task: "TaskModule", batch: dict[str, Any]) -> None:
    """Check that a method with a prompt has one text in each row.

    Raises:
        UserError: A row has several.
    """
    if task.tuning.positions and "position_ids" in batch:
        raise UserError(
            f"model.tuning {type(task.tuning).__name__} adds its tokens before a single text, but a block has several; "
            "set data.packing: false, or with raw text data.isolate_documents: false"
        )


def forward(task: "TaskModule", batch: dict[str, Any]) -> Any:
    """Call the model with the inputs in a batch, and take the hidden states of the trunk from the store if they are there."""
    check_blocks(task, batch)
    with task.stages.trunk.skipped(batch):
        return task.model(**{key: value for key, value in batch.items() if key not in BOOKKEEPING})


def training_loss(task: "TaskModule", batch: dict[str, Any]) -> Any:
    """Return the loss to minimise on a batch, and with an auxiliary loss or `model.keep` also its parts, which are logged."""
    loss = task.batch_losses(batch).sum() / batch["loss_denominator"]
    if (penalty := task.tuning.penalty(task.backbone)) is not None:
        loss = loss + penalty
    outputs = loss if task.self_supervision is None else _with_auxiliary(task, loss, batch)
    return outputs if task.keep is None else _with_penalty(task, outputs)


def _with_auxiliary(task: "TaskModule", loss: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
    assert task.auxiliary is not None
    assert task.self_supervision is not None
    own = task.auxiliary.loss(task.self_supervision, task.backbone, batch, task.text_counts(batch))
    weight = task.auxiliary.weight_at(task.global_step / task.total_steps)
    parts = {"task_loss": loss, "auxiliary_loss": own, "auxiliary_weight": loss.new_tensor(weight)}
    return {"loss": loss + weight * own, **{name: value.detach() for name, value in parts.items()}}


def _with_penalty(task: "TaskModule", outputs: Any) -> dict[str, Tensor]:
    """Add the penalty of `model.keep` to the loss, which may have parts already."""
    if task.anchors is None:
        raise UserError("model.keep needs the weights that training begins with: train with ftlit.fit or `python -m ftlit fit`")
    parts = outputs if isinstance(outputs, dict) else {"loss": outputs, "task_loss": outputs.detach()}
    penalty = task.anchors.penalty(task.model)
    return {**parts, "loss": parts["loss"] + penalty, "keep_loss": penalty.detach()}


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


def optimizer_and_schedule(task: "TaskModule") -> dict[str, Any]:
    """Build the optimizer and the learning rate schedule for Lightning, and prepare the tuning method.

    Raises:
        UserError: The length of training does not fit the tuning method or the schedule.
    """
    optimizer = build_optimizer(task.optimizer, task.param_groups())
    task.total_steps = finite_steps(task.trainer.estimated_stepping_batches)
    task.tuning.begin(task.backbone, task.total_steps)
    if not task.trainer.fast_dev_run:  # type: ignore[attr-defined]
        epochs = task.trainer.max_epochs
        task.tuning.check_length(task.total_steps, None if epochs in (None, -1) else epochs)
    scheduler = build_schedule(task.schedule, optimizer, task.warmup_ratio, task.total_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
