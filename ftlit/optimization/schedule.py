"""Learning rate schedules."""

import math
from typing import Any

from torch.optim import Optimizer

from ftlit.errors import UserError, near
from ftlit.util.arguments.ranges import check_number

SCHEDULES = (  # the schedules of transformers that require no further arguments
    "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant", "constant_with_warmup",
)  # fmt: skip


def check_lr_schedule(name: str, warmup_ratio: float) -> None:
    """Check the name of a schedule and its warmup ratio.

    Raises:
        UserError: If the schedule is unknown, or the ratio is not in [0, 1).
    """
    if name not in SCHEDULES:
        raise UserError(f"model.schedule {name!r} is not known. {near(name, SCHEDULES)}")
    check_number("model.warmup_ratio", warmup_ratio)


def build_schedule(name: str, optimizer: Optimizer, warmup_ratio: float, steps: int) -> Any:
    """Build a learning rate schedule of transformers over all steps of the run.

    Args:
        name: One of `SCHEDULES`.
        optimizer: Optimizer whose learning rates are scheduled.
        warmup_ratio: Fraction of `steps` in which the learning rate rises.
        steps: Optimizer steps of the run.
    """
    from transformers import get_scheduler

    check_lr_schedule(name, warmup_ratio)
    return get_scheduler(name, optimizer, num_warmup_steps=int(warmup_ratio * steps), num_training_steps=steps)


def finite_steps(steps: float) -> int:
    """Return the number of optimizer steps of a run as an integer.

    Raises:
        UserError: If the run is not limited in length.
    """
    if math.isfinite(steps) and steps > 0:
        return int(steps)
    raise UserError(
        "the number of optimizer steps is unknown, but model.schedule and some model.tuning methods depend on it; set "
        "trainer.max_epochs or trainer.max_steps"
    )
