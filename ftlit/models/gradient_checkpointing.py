"""Gradient checkpointing: layers keep their inputs only, and are computed again in the backward pass (Chen et al., 2016)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from ftlit.models.layer_depths import layer_stack


class PrefixCache(DynamicCache):
    """Keys and values of a prefix. Once complete, layers read them without adding those of the text.

    A layer that is computed twice would add the text twice to an ordinary cache.
    """

    complete = False

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return keys and values ``(batch, heads, tokens, width)`` behind those of the prefix."""
        if not self.complete:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        own: Any = self.layers[layer_idx]
        return torch.cat([own.keys, key_states], -2), torch.cat([own.values, value_states], -2)


def checkpoint_layers(backbone: nn.Module) -> None:
    """Let the layers of a backbone be computed again in the backward pass, with the same dropout.

    The mechanism of transformers is not used, since it takes a learned prefix from the layers.
    """
    for layer in _layers(backbone):
        layer.forward = partial(_forward_twice, layer, layer.forward)


def keep_layers(backbone: nn.Module) -> None:
    """Undo `checkpoint_layers`."""
    for layer in _layers(backbone):
        if _is_checkpointed(layer):
            layer.forward = layer.forward.args[1]


def checkpoints_layers(backbone: nn.Module) -> bool:
    """Whether `checkpoint_layers` has changed the layers of a backbone."""
    return any(map(_is_checkpointed, _layers(backbone)))


def _layers(backbone: nn.Module) -> list[Any]:
    found = {name: part for name, part in backbone.named_modules() if isinstance(part, GradientCheckpointingLayer)}
    outer = [part for name, part in found.items() if not any(name.startswith(f"{other}.") for other in found)]
    return outer or list(layer_stack(backbone)[1])


def _is_checkpointed(layer: Any) -> bool:
    return isinstance(layer.forward, partial) and layer.forward.func is _forward_twice


def _forward_twice(layer: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not (layer.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    # A cache of the text itself serves generation alone, and would grow again in the backward pass.
    given = (None if _grows(value) else value for value in args)
    named = {name: None if _grows(value) else value for name, value in kwargs.items()}
    if (first_token := getattr(layer, "first_token", None)) is not None:
        forward = first_token.as_now(forward)
    return checkpoint(partial(forward, **named), *given, use_reentrant=False)


def _grows(value: Any) -> bool:
    return isinstance(value, Cache) and not isinstance(value, PrefixCache)
