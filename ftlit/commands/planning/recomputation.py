"""What gradient checkpointing saves and costs: the memory and time of a batch with it and without."""

import statistics
import time
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor

from ftlit.commands.planning.capacity import out_of_memory
from ftlit.models.gradient_checkpointing import checkpoint_layers, checkpoints_layers, keep_layers
from ftlit.tasks import TaskModule

REPEATS = 3
Found = dict[str, float] | None  # bytes and seconds; None if memory ran out


def with_and_without(trainer: Trainer, task: TaskModule, batch: dict[str, Any]) -> dict[str, Found]:
    """The bytes that a batch keeps for its backward pass and the seconds of both passes, `with` recomputation and `without`.

    Args:
        trainer: The trainer, in training.
        task: The task.
        batch: The batch on the device.
    """
    before, found = checkpoints_layers(task.backbone), dict[str, Found]()
    for name, change in {"without": keep_layers, "with": checkpoint_layers}.items():
        keep_layers(task.backbone)
        change(task.backbone)
        found[name] = _tried(trainer, batch)
    if not before:
        keep_layers(task.backbone)
    return found


def _tried(trainer: Trainer, batch: dict[str, Any]) -> Found:
    try:
        tried = [_passes(trainer, batch) for _ in range(REPEATS)]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
    return {"bytes": tried[0][0], "seconds": statistics.median(seconds for _, seconds in tried)}


def _passes(trainer: Trainer, batch: dict[str, Any]) -> tuple[int, float]:
    device, kept = trainer.strategy.root_device, dict[int, int]()
    weights = {weight.untyped_storage().data_ptr() for weight in trainer.lightning_module.parameters()}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    began = _now(device)
    with trainer.precision_plugin.forward_context(), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        outputs: Any = trainer.strategy.training_step(batch, 0)
    (outputs["loss"] if isinstance(outputs, dict) else outputs).backward()
    return sum(kept.values()), _now(device) - began


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()
