"""Count the weights and the trained weights of a model."""

import math
from typing import Any

from tabulate import tabulate
from torch import nn

from ftlit.tuning.base import is_trainable


def size(weight: nn.Parameter) -> int:
    """Number of values of a weight. bitsandbytes packs two weights of 4 bits into each byte."""
    packed = getattr(weight, "quant_state", None)
    return weight.numel() if packed is None else math.prod(packed.shape)


def parameter_counts(model: nn.Module) -> dict[str, Any]:
    """Numbers of weights: ``total``, ``trained`` at any time of the run, and ``trained_share``, from 0 to 1."""
    weights = list(model.parameters())
    total, trained = sum(map(size, weights)), sum(size(w) for w in weights if is_trainable(w))
    return {"total": total, "trained": trained, "trained_share": trained / total}


def parts_text(model: nn.Module) -> str:
    """Format a table of the model's parts with their numbers of weights and trained weights."""
    parts: dict[str, list[int]] = {}
    for name, weight in model.named_parameters():
        part = parts.setdefault(_part(name), [0, 0])
        part[0] += size(weight)
        part[1] += size(weight) * is_trainable(weight)
    parts["all"] = [sum(column) for column in zip(*parts.values(), strict=True)]
    rows = [[part, f"{total:,}", f"{trained:,}", f"{trained / total:.2%}"] for part, (total, trained) in parts.items()]
    align = ("left", "right", "right", "right")
    return tabulate(rows, headers=["part", "weights", "trained", "share"], colalign=align)


def _part(name: str) -> str:
    steps = [step for step in name.split(".") if step not in ("base_model", "model")][:-1]
    depth = next((i for i, step in enumerate(steps) if step.isdecimal()), None)
    return ".".join(steps[: min(depth, 3) if depth is not None else 2]) or name
