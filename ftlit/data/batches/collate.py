"""Encoded examples to padded tensors."""

from collections.abc import Mapping
from typing import Any

import torch

from ftlit.util.batch import pad

PADDING = {"token_type_ids": 0}


def collate(
    columns: dict[str, list[Any]],
    pad_token_id: int,
    label_dtype: torch.dtype = torch.long,
    padding: Mapping[str, int] = PADDING,
    metadata: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A batch with Hugging Face's names.

    Args:
        columns: Encoded examples: ``input_ids``, perhaps ``labels`` and ``loss_weights``, and columns that are not used.
        pad_token_id: Fills up ``input_ids``.
        label_dtype: Type of labels that are not padded.
        padding: What fills up each other column of numbers of tokens; `labels` among them where each token has one.
        metadata: Columns that are passed on as they are.

    Returns:
        ``input_ids``, ``attention_mask`` and the columns of `padding` of shape ``(batch, tokens)``, ``labels``,
        ``loss_weights`` of shape ``(batch,)``, ``metadata``, and ``tokens``, the number of tokens that are not padding.
    """
    ids = columns["input_ids"]
    batch: dict[str, Any] = {
        "input_ids": pad(ids, pad_token_id),
        "attention_mask": pad([[1] * len(row) for row in ids], 0),
        "tokens": sum(map(len, ids)),
        "metadata": {name: columns[name] for name in metadata if name in columns},
    }
    batch |= {name: pad(columns[name], value) for name, value in padding.items() if name in columns}
    if "labels" in columns and "labels" not in batch:
        batch["labels"] = torch.tensor(columns["labels"], dtype=label_dtype)
    if "loss_weights" in columns:
        batch["loss_weights"] = torch.tensor(columns["loss_weights"], dtype=torch.float32)
    return batch
