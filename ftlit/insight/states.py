"""Texts as vectors: the mean of the backbone's last hidden states over the tokens of a row."""

from typing import Any

import numpy as np
import torch

from ftlit.exports.predicting.predictor import Encoded, Predictor
from ftlit.optimization.auxiliary import INPUTS


@torch.inference_mode()
def pooled_states(predictor: Predictor, encoded: Encoded) -> np.ndarray:
    """Return the mean of the last hidden states over the tokens of each row, ``(rows, width)``, in single precision.

    The mean of a row with several texts, such as choices or windows of a long context, is over the tokens of all of them. An
    encoder-decoder model gives the states of its encoder.

    Args:
        predictor: The run.
        encoded: Rows from `Predictor.encode`.
    """
    backbone = _reader(predictor.model.backbone)
    owners, parts = np.array(encoded.columns["row"]), []
    for places in encoded.batches:
        batch = predictor.batch(encoded.columns, places.tolist())
        counts = predictor.model.text_counts(batch) or [1] * len(places)
        inputs = {name: batch[name] for name in INPUTS if name in batch}
        mask = inputs["attention_mask"]
        hidden = backbone(**inputs).last_hidden_state[:, -mask.shape[1] :].float()  # without a learned prompt
        sums = (hidden * mask.unsqueeze(-1)).sum(1)
        parts.append((np.repeat(owners[places], counts), sums.cpu().numpy(), mask.sum(1).cpu().numpy()))
    rows, vectors, tokens = (np.concatenate(found) for found in zip(*parts, strict=True))
    totals, sizes = np.zeros((len(encoded.ids), vectors.shape[1]), dtype=np.float32), np.zeros(len(encoded.ids))
    np.add.at(totals, rows, vectors)
    np.add.at(sizes, rows, tokens)
    return (totals / sizes[:, None]).astype(np.float32)


def _reader(backbone: Any) -> Any:
    """The part of a backbone that reads texts."""
    return backbone.get_encoder() if backbone.config.is_encoder_decoder else backbone
