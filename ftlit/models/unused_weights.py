"""Weights that no text reaches, such as LUKE's embeddings of entities; they stay as they are with every tuning method."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

UNUSED = "ftlit_unused"  # attribute of such a weight
_FOUND: dict[tuple[type, str], set[str]] = {}  # by class and configuration, since it takes a moment


def unused_weights(model: Any) -> set[str]:
    """Return the names of the weights on which the outputs for texts do not depend; the parts of own heads are not looked at.

    Args:
        model: A task's model without values: on the device ``meta``, computing costs nothing.
    """
    prefix = model.base_model_prefix
    whole = isinstance(model, PreTrainedModel)
    part = model if whole else getattr(model, prefix)
    key = (type(part), part.config.to_json_string(use_diff=False))
    if key not in _FOUND:
        _FOUND[key] = _without_gradient(part.to("meta").eval())  # XLNet makes some weights on the CPU
    return _FOUND[key] if whole else {f"{prefix}.{name}" for name in _FOUND[key]}


def _without_gradient(model: Any) -> set[str]:
    for inputs in _inputs(model):
        try:
            _total(model(**inputs)).backward()
        except Exception:  # it looks at values, or at a mask of another shape
            model.zero_grad()
            continue
        return {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}
    return set()


def _inputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inputs of two texts. Models look at the values of different kinds of masks."""
    ids = torch.zeros(2, 8, dtype=torch.long, device="meta")
    accepted = signature(model.forward).parameters
    others = {name: ids for name in ("token_type_ids", "decoder_input_ids") if name in accepted}
    for mask in (torch.ones_like(ids), torch.ones(2, 1, 8, 8, dtype=torch.bool, device="meta"), None):
        yield {"input_ids": ids, **others, **({} if mask is None else {"attention_mask": mask})}


def _total(output: Any) -> Tensor:
    values = {name: value for name, value in output.items() if isinstance(value, Tensor) and value.requires_grad}
    logits = [value.sum() for name, value in values.items() if name.endswith("logits")]
    return torch.stack(logits or [values["last_hidden_state"].sum()]).sum()


def keep_unused(model: nn.Module, names: set[str], fresh: list[nn.Parameter]) -> list[nn.Parameter]:
    """Freeze unused weights, and return the newly initialized ones among the others.

    An unused weight that is new becomes zero, so that it is the same whenever the model is built.
    """
    unused = {id(weight): weight for name, weight in model.named_parameters() if name in names}
    random = {id(weight) for weight in fresh}
    for key, weight in unused.items():
        setattr(weight, UNUSED, True)
        weight.requires_grad_(False)
        if key in random:
            nn.init.zeros_(weight)
    return [weight for weight in fresh if id(weight) not in unused]
