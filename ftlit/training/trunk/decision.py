"""Whether the states of a trunk are stored. The config and the data decide it, so that a run is the same each time."""

import math
from typing import Any

from lightning.pytorch.strategies import SingleDeviceStrategy

from ftlit.errors import UserError
from ftlit.tasks import TaskModule
from ftlit.training.stored.canonical import Passes
from ftlit.training.stored.folder import reason_of_limit
from ftlit.training.trunk.proof import Proof, proof

AGAIN = 2  # epochs in which the states must be needed to be worth storing


def decided(setting: Any, passes: Passes, splits: list[str]) -> tuple[Proof | None, str | None]:
    """The proof that states can be stored, or None, with the reason if the config asks for it.

    Args:
        setting: The option `model.trunk_cache`.
        passes: The task and its data.
        splits: The splits that the run needs.

    Raises:
        UserError: The option is true, and the states cannot be stored.
    """
    trainer, task = passes.trainer, passes.task
    reason = _reason_of_settings(trainer, task)
    if setting is False or (setting == "auto" and (reason or epochs_of_stage(trainer, task) < AGAIN)):
        return None, None
    found = None
    if not reason:
        found = proof(passes, "train")
        reason = found.reason or _reason_of_size(passes, splits, found.token_bytes)
    if reason and setting is True:
        raise UserError(f"model.trunk_cache is true, but {reason}; set it to false or auto")
    return (None if reason else found), reason


def _reason_of_settings(trainer: Any, task: TaskModule) -> str | None:
    if getattr(getattr(task.backbone, "config", None), "is_encoder_decoder", False):
        return "the backbone is an encoder-decoder model"
    if not task.stages.trunk.depth:
        return f"model.tuning {type(task.tuning).__name__} trains the lowest layer, or changes what it reads"
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        return "states are stored on a single device only"
    return None


def epochs_of_stage(trainer: Any, task: TaskModule) -> int:
    """In how many epochs of the run, whole or in part, the trunk is what it is now."""
    steps = max(math.ceil(int(trainer.num_training_batches) / trainer.accumulate_grad_batches), 1)
    epochs = range(math.ceil(task.total_steps / steps))
    return sum(task.tuning.stage(epoch * steps, epoch) == task.stages.current for epoch in epochs)


def _reason_of_size(passes: Passes, splits: list[str], token_bytes: int) -> str | None:
    need = sum(int(passes.data.lengths(split).sum()) for split in splits) * token_bytes
    return reason_of_limit(need, passes.limit)
