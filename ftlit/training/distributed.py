"""Communication between the processes of a run."""

from typing import Any

import torch
from lightning import Trainer


def every_rank(trainer: Trainer, own: Any) -> list[Any]:
    """Gather the objects of all ranks on every rank. Every rank must call this."""
    states: list[Any] = [own]
    if trainer.world_size > 1:
        states = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, own)
    return states
