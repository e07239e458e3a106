"""Parameter groups and layer-wise learning rates."""

import math
import re
from typing import Any

from torch import nn

from ftlit.errors import UserError
from ftlit.models.layer_depths import depths
from ftlit.tuning.base import is_trainable
from ftlit.tuning.prompted_backbone import SoftPromptBackbone


def param_groups(
    model: nn.Module,
    backbone: nn.Module,
    layer_decay: float = 1.0,
    head_lr_factor: float = 1.0,
    lr_factors: dict[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Group the trained weights by learning rate and weight decay.

    Biases and norms (all weights with fewer than two dimensions) have no weight decay. The learning rate of a backbone weight
    at depth d of n layers is ``lr * layer_decay ** (n + 1 - d)`` (Howard and Ruder, 2018; Clark et al., 2020), that of the
    head is ``lr * head_lr_factor``.

    Args:
        model: The whole model.
        backbone: The backbone inside `model`.
        layer_decay: Factor between the learning rates of a layer and of the layer above.
        head_lr_factor: Factor for the learning rate of weights outside the backbone.
        lr_factors: Additional factors for weights whose names match a regular expression.

    Returns:
        Groups with ``params``, ``name`` and ``lr_scale``, and with ``weight_decay`` 0 for biases and norms.

    Raises:
        UserError: If an expression matches no trained weight.
    """
    depth = {id(w): d for (_, w), d in zip(_all(backbone), depths(backbone).values(), strict=True)} if layer_decay != 1 else {}
    if depth:  # vectors that are read like those of words
        depth |= {
            id(w): 0 for part in backbone.modules() if isinstance(part, SoftPromptBackbone) for w in part.prompt.parameters()
        }
    inside = {id(w) for w in backbone.parameters()}
    top = max(depth.values(), default=0)
    groups: dict[tuple[str, float, bool], dict[str, Any]] = {}
    trained = [(name, weight) for name, weight in model.named_parameters() if is_trainable(weight)]
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
            raise UserError(f"model.lr_factors: {pattern!r} is not a valid regular expression: {error}") from error
        if not found:
            raise UserError(
                f"model.lr_factors: {pattern!r} matches no trained weight; the table at the start of the run lists them"
            )


def _all(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(module.named_parameters(remove_duplicate=False))
