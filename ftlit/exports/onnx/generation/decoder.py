"""Trace a decoder as one graph, for prompts and for single tokens."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import DynamicCache

from ftlit.exports.onnx.generation.cache import (
    PAST,
    ROWS,
    TOKENS,
    cache_names,
    cache_of,
    example_of,
    named,
    some_ids,
    tensors_of,
)
from ftlit.exports.onnx.generation.generate import GRAPH
from ftlit.exports.onnx.graph import trace
from ftlit.tasks import TaskModule
from ftlit.tuning.prompted_backbone import PromptedBackbone


class CachedDecoder(nn.Module):
    """A decoder that is given the keys and values of earlier tokens, and returns them with those of its own tokens.

    Args:
        model: The decoder.
        prefix: Keys and values of a learned prompt in each layer, which precedes every text, ``(1, heads, tokens, width)``.
    """

    def __init__(self, model: nn.Module, prefix: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.model, self.length = model, prefix[0].shape[2] if prefix else 0
        self.has_positions = "position_ids" in signature(model.forward).parameters
        for i, value in enumerate(prefix):
            self.register_buffer(f"prefix_{i}", value)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **past: Tensor) -> SimpleNamespace:
        """Return the logits and the cache.

        Args:
            input_ids: New tokens, ``(rows, tokens)``.
            attention_mask: Zeros where tokens are padding, ``(rows, earlier and new tokens)``.
            **past: Keys and values of the earlier tokens.
        """
        rows, tokens = input_ids.shape
        places = (attention_mask.cumsum(1) - 1).clamp(min=0)[:, -tokens:] + self.length
        given, mask = list(past.values()), attention_mask
        if self.length:
            prefix = [value.expand(rows, -1, -1, -1) for value in self.buffers(recurse=False)]
            given = [torch.cat([own, value], 2) for own, value in zip(prefix, given, strict=True)]
            mask = torch.cat([mask.new_ones(rows, self.length), mask], 1)
        cache, positions = cache_of(given), {"position_ids": places} if self.has_positions else {}
        found = self.model(input_ids=input_ids, attention_mask=mask, past_key_values=cache, use_cache=True, **positions)
        return named([value[:, :, self.length :] for value in tensors_of(cache)], logits=found.logits)


def write_decoder(task: TaskModule, model: Any, folder: Path) -> None:
    """Write the graph of a decoder.

    Args:
        task: The task.
        model: The decoder, without the wrapper of peft.
        folder: The exported folder.

    Raises:
        UntraceableError: The exporter of PyTorch cannot follow the model.
    """
    prefix, cache = take_prefix(task), DynamicCache()
    with torch.no_grad():
        model(input_ids=some_ids(TOKENS), past_key_values=cache, use_cache=True)
    past, sizes = example_of(cache)
    mask = torch.ones(ROWS, PAST + TOKENS, dtype=torch.long)
    mask[0, :2] = 0
    example = {"input_ids": some_ids(TOKENS), "attention_mask": mask, **past}
    dynamic = ({0: Dim("batch"), 1: Dim("tokens")}, {0: Dim("batch"), 1: Dim.DYNAMIC}, *sizes)
    outputs = ["logits", *cache_names("present", len(cache.layers))]
    trace(CachedDecoder(model, prefix), example, outputs, dynamic, folder / GRAPH, tied=True)
    if prefix and isinstance(limit := getattr(model.config, "max_position_embeddings", None), int):
        model.config.max_position_embeddings = limit - prefix[0].shape[2]  # the others are taken


def take_prefix(task: TaskModule) -> list[Tensor]:
    """Remove the learned prompt of a decoder, and return its keys and values, which depend on no text."""
    backbone: Any = task.backbone
    if not isinstance(backbone, PromptedBackbone):
        return []
    one, cache = torch.ones(1, 1, dtype=torch.long), DynamicCache()
    with torch.no_grad():
        backbone(input_ids=one, attention_mask=one, past_key_values=cache, use_cache=True)
    task.replace_backbone(backbone.base)
    return [value[:, :, : backbone.length].clone() for value in tensors_of(cache)]
