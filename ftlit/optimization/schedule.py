"""Learning rate schedules."""

import math
from typing import Any

from torch.optim import Optimizer

from ftlit.errors import UserError, near

SCHEDULES = (  # those of transformers that need no arguments of their own
    "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant", "constant_with_warmup",
)  # fmt: skip


def check_lr_schedule(name: str, warmup: float) -> None:
    """Refuse an unknown schedule, or a warm-up that is no share.

    Raises:
        UserError: With what there is.
    """
    if name not in SCHEDULES:
        raise UserError(f"model.schedule {name!r} is not known. {near(name, SCHEDULES)}")
    if not 0 <= warmup < 1:
        raise UserError(f"model.warmup is the share of all steps, from 0 to below 1, got {warmup}")


def build_schedule(name: str, optimizer: Optimizer, warmup: float, steps: int) -> Any:
    """A schedule of transformers by its name, over all steps of the run.

    Args:
        name: One of `SCHEDULES`.
        optimizer: Whose learning rates it sets.
        warmup: Share of `steps` over which the learning rate rises.
        steps: Optimizer steps of the run.
    """
    from transformers import get_scheduler

    check_lr_schedule(name, warmup)
    return get_scheduler(name, optimizer, num_warmup_steps=int(warmup * steps), num_training_steps=steps)


def finite_steps(steps: float) -> int:
    """A number of optimizer steps that is known.

    Raises:
        UserError: The run has no end that is counted in steps.
    """
    if math.isfinite(steps) and steps > 0:
        return int(steps)
    raise UserError(
        "the number of optimizer steps is not known, and model.schedule and some methods of model.tuning depend on it: set "
        "trainer.max_epochs or trainer.max_steps"
    )
