"""What the processes of a run tell each other."""

from typing import Any

import torch
from lightning import Trainer


def every_rank(trainer: Trainer, own: Any) -> list[Any]:
    """What each rank has, on all ranks; the same call on every rank."""
    states: list[Any] = [own]
    if trainer.world_size > 1:
        states = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, own)
    return states
