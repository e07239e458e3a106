"""Parameter groups, layer-wise learning rates and schedules."""

import math
import re
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ftlit.backbones import depths
from ftlit.errors import UserError, near
from ftlit.tuning.base import trains

SCHEDULES = (  # those of transformers that need no arguments of their own
    "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant", "constant_with_warmup",
)  # fmt: skip


def param_groups(
    model: nn.Module,
    backbone: nn.Module,
    layer_decay: float = 1.0,
    head_lr_factor: float = 1.0,
    lr_factors: dict[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The trained weights in groups of equal learning rate and weight decay.

    Biases and norms (every weight of fewer than two dimensions) have no weight decay. A weight of the backbone at depth
    d of n layers gets the learning rate ``lr * layer_decay ** (n + 1 - d)`` (Howard and Ruder, 2018; Clark et al., 2020),
    the head ``lr * head_lr_factor``.

    Args:
        model: The whole model.
        backbone: The part of `model` whose layers are counted.
        layer_decay: Factor of the learning rate from each layer to the one below.
        head_lr_factor: Factor of the learning rate of what is not in the backbone.
        lr_factors: Further factors, by regular expressions that find the names of weights.

    Raises:
        UserError: An expression finds no weight that trains.

    Returns:
        Groups with ``params``, ``name`` and ``lr_scale``, and ``weight_decay`` 0 where there must be none.
    """
    depth = {id(w): d for (_, w), d in zip(_all(backbone), depths(backbone).values(), strict=True)} if layer_decay != 1 else {}
    inside = {id(w) for w in backbone.parameters()}
    top = max(depth.values(), default=0)
    groups: dict[tuple[str, float, bool], dict[str, Any]] = {}
    trained = [(name, weight) for name, weight in model.named_parameters() if trains(weight)]
    _check_factors(lr_factors or {}, [name for name, _ in trained])
    for name, weight in trained:
        part = "backbone" if id(weight) in inside else "head"
        scale = layer_decay ** (top - depth.get(id(weight), top)) if part == "backbone" else head_lr_factor
        scale *= math.prod(factor for pattern, factor in (lr_factors or {}).items() if re.search(pattern, name))
        decays = weight.ndim > 1
        title = f"{part}{'' if scale == 1 else f' x{scale:.4g}'}{'' if decays else ' (no decay)'}"
        group = groups.setdefault((part, scale, decays), {"params": [], "name": title, "lr_scale": scale})
        group["params"].append(weight)
        if not decays:
            group["weight_decay"] = 0.0
    return list(groups.values())


def _check_factors(factors: dict[str, float], names: list[str]) -> None:
    for pattern in factors:
        try:
            found = any(re.search(pattern, name) for name in names)
        except re.error as error:
            raise UserError(f"model.lr_factors: {pattern!r} is no regular expression: {error}") from error
        if not found:
            raise UserError(
                f"model.lr_factors: {pattern!r} finds no weight that trains; the table at the start names their parts"
            )


def build_optimizer(make: Callable[[Any], Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """An optimizer whose groups have their own share of the learning rate.

    Args:
        make: Makes the optimizer from parameter groups; its learning rate is the base of all groups.
        groups: From `param_groups`.
    """
    if not groups:
        raise UserError("no weight is trained: choose another model.tuning")
    optimizer = make(groups)
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # Lightning unscales before it clips
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("lr_scale")
    return optimizer


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


def _all(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(module.named_parameters(remove_duplicate=False))
