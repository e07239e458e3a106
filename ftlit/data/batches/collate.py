"""From encoded examples to padded tensors."""

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
    """A batch with the keys of Hugging Face's models.

    Args:
        columns: Encoded examples: ``input_ids``, and optionally ``labels``, ``loss_weights`` and other columns.
        pad_token_id: Padding value of ``input_ids``.
        label_dtype: Type of labels that are not padded.
        padding: Padding values of other columns with one number a token, such as `labels` in token classification.
        metadata: Columns that are passed on unchanged.

    Returns:
        ``input_ids``, ``attention_mask`` and the columns of `padding` of shape ``(batch, tokens)``, ``labels``,
        ``loss_weights`` of shape ``(batch,)``, ``metadata``, and ``tokens``, the number of tokens without padding.
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
