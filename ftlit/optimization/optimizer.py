"""The optimizer of a run, with a learning rate for each parameter group."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from ftlit.errors import UserError
from ftlit.util.private import clip_before_step


def build_optimizer(make: Callable[[Any], Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """An optimizer whose groups have their own share of the learning rate.

    Args:
        make: Makes the optimizer from parameter groups; its learning rate is the base of all groups.
        groups: From `param_groups`.
    """
    if not groups:
        raise UserError("no weight is trained: choose another model.tuning")
    optimizer = make(groups)
    clip_before_step(optimizer)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("lr_scale")
    return optimizer
