"""The memory of the machine, and the size of checkpoints."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Scale(TorchCheckpointIO):
    """Measures a checkpoint in memory instead of writing it."""

    bytes = 0

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        held = io.BytesIO()
        torch.save(checkpoint, held)
        self.bytes = held.tell()


def checkpoint_bytes(trainer: Trainer, weights_only: bool) -> int:
    """Size in bytes of a checkpoint of the current state."""
    before, scale = trainer.strategy.checkpoint_io, Scale()
    trainer.strategy.checkpoint_io = scale
    trainer.save_checkpoint("", weights_only)
    trainer.strategy.checkpoint_io = before
    return scale.bytes


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the GPU or the machine ran out of memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def device_memory(trainer: Trainer) -> int:
    """Memory in bytes of the device on which the model trains."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else machine_memory()


def machine_memory() -> int:
    """Memory in bytes of this machine, or the limit of its container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    limits = [Path(path).read_text().strip() for path in CGROUPS if Path(path).is_file()]
    return min([total, *(int(limit) for limit in limits if limit.isdecimal())])
