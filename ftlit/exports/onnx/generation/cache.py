"""The keys and values of earlier tokens as tensors, as graphs of ONNX take and return them."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROWS, TOKENS, PAST = 2, 3, 5  # sizes of examples, none of them 1, which the exporter takes for one that never changes


def cache_names(start: str, layers: int, part: str = "") -> list[str]:
    """Return the names of the keys and values of each layer, such as ``present.0.key``."""
    place = f".{part}" if part else ""
    return [f"{start}.{layer}{place}.{kind}" for layer in range(layers) for kind in ("key", "value")]


def cache_of(values: Sequence[Tensor]) -> DynamicCache:
    """Return a cache with the keys and values of all earlier tokens, whatever window the model has.

    Args:
        values: The keys and the values of each layer, ``(rows, heads, tokens, width)``.
    """
    cache = DynamicCache()
    for key, value in zip(values[::2], values[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def tensors_of(cache: Any) -> list[Tensor]:
    """Return the keys and the values of each layer of a cache."""
    return [value for layer in cache.layers for value in (layer.keys, layer.values)]


def named(values: Sequence[Tensor], part: str = "", **others: Tensor) -> SimpleNamespace:
    """Return the keys and values of a cache, and other outputs, by their names."""
    names = cache_names("present", len(values) // 2, part)
    return SimpleNamespace(**others, **dict(zip(names, values, strict=True)))


def example_of(cache: Any, part: str = "") -> tuple[dict[str, Tensor], list[dict[int, Any]]]:
    """Return the keys and values of a cache as inputs of a graph, and the dimensions of them that may change.

    Those of a `decoder`, or without a part, get `PAST` tokens; those of the `encoder` stay as they are.
    """
    values = tensors_of(cache)
    names = cache_names("past_key_values", len(values) // 2, part)
    if part != "encoder":
        values = [torch.zeros(ROWS, value.shape[1], PAST, value.shape[3]) for value in values]
    sizes = {0: Dim("batch"), 2: Dim("source" if part == "encoder" else "past")}
    return dict(zip(names, values, strict=True)), [sizes] * len(names)


def some_ids(tokens: int) -> Tensor:
    """Return the ids of some tokens, ``(ROWS, tokens)``."""
    return torch.arange(1, ROWS * tokens + 1).view(ROWS, tokens) % 5
