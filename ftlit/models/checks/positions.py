"""How many tokens a model takes, by its configuration and its table of positions."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PretrainedConfig


def max_positions(config: PretrainedConfig) -> int | None:
    """Return the maximum input length of a model in tokens, or None if it has no limit."""
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:  # XLNet says -1
        return None
    return min([limit, *(len(table.weight) - table.padding_idx - 1 for table in _padded_tables(config))])


def positions_follow_padding(config: PretrainedConfig) -> bool:
    """Whether the positions of a text start behind the padding id, as in RoBERTa, so that another id would move them."""
    return any(True for _ in _padded_tables(config))


def _padded_tables(config: PretrainedConfig) -> Iterator[Any]:
    """The tables of positions with a padding row. Where there is one, texts use the rows behind it alone."""
    remote = type(config).__module__.startswith("transformers_modules")  # its code was trusted when the config was loaded
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(copy.deepcopy(config), trust_remote_code=remote)
    except Exception:  # AutoModel does not know the class, or the model cannot be built without values
        return
    for name, part in model.named_modules():
        if "position" in name.rpartition(".")[2] and isinstance(getattr(part, "padding_idx", None), int) and _is_table(part):
            yield part


def _is_table(part: nn.Module) -> bool:
    return isinstance(getattr(part, "weight", None), torch.Tensor)
