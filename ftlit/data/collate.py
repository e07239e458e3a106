"""Encoded examples to padded tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def pad(sequences: list[list[int]], value: int) -> Tensor:
    """Sequences as one tensor ``(sequences, longest)``, filled up on the right with `value`."""
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    filled = np.full((len(sequences), lengths.max()), value, dtype=np.int64)
    filled[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(sequences)
    return torch.from_numpy(filled)


def collate(columns: dict[str, list[Any]], pad_token_id: int, label_dtype: torch.dtype) -> dict[str, Any]:
    """A batch with Hugging Face's names.

    Args:
        columns: Encoded examples: ``input_ids``, perhaps ``token_type_ids``, ``labels``, and columns that are not used.
        pad_token_id: Fills up ``input_ids``.
        label_dtype: Type of the labels.

    Returns:
        ``input_ids``, ``attention_mask`` and ``token_type_ids`` of shape ``(batch, tokens)``, ``labels``, and ``tokens``,
        the number of tokens that are not padding.
    """
    ids = columns["input_ids"]
    batch: dict[str, Any] = {
        "input_ids": pad(ids, pad_token_id),
        "attention_mask": pad([[1] * len(row) for row in ids], 0),
        "tokens": sum(map(len, ids)),
    }
    if "token_type_ids" in columns:
        batch["token_type_ids"] = pad(columns["token_type_ids"], 0)
    if "labels" in columns:
        batch["labels"] = torch.tensor(columns["labels"], dtype=label_dtype)
    return batch
