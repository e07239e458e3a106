"""Features of a block of raw text, made from the pieces of documents in it."""

from typing import Any

import numpy as np

from ftlit.data.batches.document_packing import Piece
from ftlit.models.masking import word_count


def causal_block(parts: list[Piece], isolate: bool) -> dict[str, Any]:
    """A block in which each token except the first is predicted.

    Args:
        parts: The pieces of the block.
        isolate: Whether pieces are isolated: positions restart with each piece, and its first token is not predicted.
    """
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])[:-1].tolist() if isolate else [0]
    block = concatenate(parts)
    positions = np.arange(len(block.ids)) - np.repeat(starts, np.diff([*starts, len(block.ids)]))
    predicted = len(block.ids) - len(starts)
    sizes = sum(block.sizes) - sum(block.sizes[start] for start in starts)
    features = {"input_ids": block.ids, "loss_weights": float(predicted), "bytes": sizes, "first_row": block.row}
    return {**features, "position_ids": positions.tolist()} if isolate else features


def masked_block(block: Piece, special_ids: list[int], whole_words: bool) -> dict[str, Any]:
    """A block with the number of tokens that may be masked, and the number of words that they form.

    Args:
        block: The block, special tokens included.
        special_ids: Ids that are never masked.
        whole_words: Whether the tokens of a word are masked together; otherwise each token counts as a word.
    """
    special = set(special_ids)
    maskable = [i not in special for i in block.ids]
    counts = {"maskable": sum(maskable), "maskable_words": sum(maskable)}
    features = {"input_ids": block.ids, **counts, "bytes": sum(block.sizes), "first_row": block.row}
    if not whole_words:
        return features
    return {**features, "maskable_words": word_count(maskable, block.words), "words": block.words}


def concatenate(parts: list[Piece]) -> Piece:
    """Several pieces as one, with the row of the first."""
    ids = [i for part in parts for i in part.ids]
    sizes = [size for part in parts for size in part.sizes]
    words = [word for part in parts for word in part.words]
    return Piece(ids, sizes, words, parts[0].row)
