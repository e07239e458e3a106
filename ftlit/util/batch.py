"""Batch keys that are not inputs of the model, shared by data modules and tasks."""

import numpy as np
import torch
from torch import Tensor

# Keys that are not inputs of the model: `ids` are positions of rows in their split, `feature_ids` positions of the features
# encoded from them (a long row may become several), `loss_weights` the weight of each example in the mean of the loss,
# `loss_denominator` the number that the sum of the losses is divided by, `metadata` columns that are not tensors, `bytes` the
# length of the texts that a language model predicts, `unlabelled` a batch of texts for an auxiliary loss, `split` the name of
# the split.
BOOKKEEPING = {
    *("labels", "ids", "feature_ids", "loss_denominator", "tokens", "loss_weights", "metadata"),
    *("bytes", "next_sentence", "unlabelled", "split"),
}
# The loss denominator of a batch that only keeps a rank in step with the others: dividing by it makes the loss zero.
FILLER = float("inf")
# The label of tokens that are excluded from the loss, as in PyTorch's cross-entropy.
IGNORED = -100


def pad(sequences: list[list[int]], value: int) -> Tensor:
    """Pad sequences on the right with `value` and return them as one tensor, ``(sequences, longest)``."""
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    filled = np.full((len(sequences), lengths.max()), value, dtype=np.int64)
    filled[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(sequences)
    return torch.from_numpy(filled)
