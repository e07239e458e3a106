"""Build the optimizer, with a learning rate for each parameter group."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from ftlit.errors import UserError, settings
from ftlit.util.arguments.ranges import check_section
from ftlit.util.private import clip_before_step


def build_optimizer(make: Callable[[Any], Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """Build an optimizer and scale the learning rate of each group by its `lr_scale`.

    Args:
        make: Builds the optimizer from parameter groups. Its learning rate is the base rate of all groups.
        groups: Parameter groups from `param_groups`.

    Raises:
        UserError: If there is no weight to train, or a number of the optimizer is out of range.
    """
    if not groups:
        raise UserError("no weights are trained; choose another model.tuning")
    with settings("model.optimizer"):
        optimizer = make(groups)
    check_section("model.optimizer", optimizer.defaults)
    clip_before_step(optimizer)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("lr_scale")
    return optimizer
