"""Checkpoints of a task contain only trained weights and buffers; frozen weights are loaded from the backbone."""

import math
from typing import TYPE_CHECKING, Any

import torch

from ftlit.errors import UserError
from ftlit.runs.checkpoint import check_complete, check_trained, trained_keys

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule


def save_trained(task: "TaskModule", checkpoint: dict[str, Any]) -> None:
    """Reduce a checkpoint to the trained weights, and add a hash of the frozen ones and the state of the tuning method.

    Raises:
        UserError: Weights that trained are missing, or are NaN or infinite.
    """
    keys = trained_keys(task)
    check_complete(task.initial_trained_keys, keys & checkpoint["state_dict"].keys())
    checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in keys}
    checkpoint["frozen_digest"] = task.frozen_digest
    if task.distillation is not None:
        checkpoint["teacher"] = task.teacher.digest
    checkpoint["tuning_state"] = task.tuning.state(task.backbone)
    if not all(is_finite(weight) for weight in checkpoint["state_dict"].values()):
        raise UserError(f"weights are no longer finite at step {task.global_step}; no checkpoint of them was written")


def is_finite(weight: torch.Tensor) -> bool:
    """Whether a tensor has no NaN and no infinite value; its extremes tell, without a tensor of truth values."""
    own: Any = weight.to_local() if hasattr(weight, "to_local") else weight
    return not (own.is_floating_point() and own.numel()) or all(math.isfinite(extreme) for extreme in own.aminmax())


def prepare_loading(task: "TaskModule", checkpoint: dict[str, Any]) -> None:
    """Restore the state of the tuning method, and check that the checkpoint fits the task.

    Raises:
        UserError: The checkpoint was trained with another tuning method or backbone.
    """
    if state := checkpoint.get("tuning_state"):
        task.tuning.load_state(task.backbone, state)
    check_weights(task, checkpoint["state_dict"])
    if checkpoint.get("frozen_digest", task.frozen_digest) != task.frozen_digest:
        raise UserError(
            f"the checkpoint holds only trained weights, and the frozen weights of model.backbone "
            f"{task.hparams['backbone']!r} are not those that it was trained on; use the same backbone"
            + (f", and the same model.init_from as {task.init_from!r} was then" if task.init_from else "")
        )


def check_weights(task: "TaskModule", state_dict: dict[str, Any]) -> None:
    """Check that a state dict contains exactly the weights that the task trains.

    Raises:
        UserError: Trained weights are missing, or others are present.
    """
    shapes = {name: weight.shape for name, weight in task.state_dict().items()}
    same = {name for name, weight in state_dict.items() if shapes.get(name) == weight.shape}
    check_trained(task, sorted(shapes.keys() - same), sorted(state_dict.keys() - same), task.tuning)
