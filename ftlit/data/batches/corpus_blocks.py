"""Features of a block of raw text, made from the pieces of documents in it."""

from typing import Any

import numpy as np
import torch

from ftlit.data.batches.document_packing import Piece
from ftlit.models.masking import mask_tokens, word_count


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


def mask_block(
    ids: list[int],
    words: list[int] | None,
    special_ids: list[int],
    mask_token_id: int,
    vocab_size: int,
    probability: float,
    seeds: list[int],
) -> tuple[list[int], list[int]]:
    """Masked ids and labels of a block.

    Args:
        ids: The block.
        words: Index of each token's word, if the tokens of a word are masked together.
        special_ids: Ids that are never masked.
        mask_token_id: Id of the mask token.
        vocab_size: Number of ids from which random tokens are drawn.
        probability: Probability of each token, or word, to be chosen for prediction.
        seeds: Numbers that determine all draws.
    """
    given = torch.tensor([ids])
    masked, labels = mask_tokens(
        given,
        ~torch.isin(given, torch.tensor(special_ids)),
        mask_token_id=mask_token_id,
        vocab_size=vocab_size,
        probability=probability,
        generator=torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0])),
        words=None if words is None else torch.tensor([words]),
        special_ids=special_ids,
    )
    return masked[0].tolist(), labels[0].tolist()


def concatenate(parts: list[Piece]) -> Piece:
    """Several pieces as one, with the row of the first."""
    ids = [i for part in parts for i in part.ids]
    sizes = [size for part in parts for size in part.sizes]
    words = [word for part in parts for word in part.words]
    return Piece(ids, sizes, words, parts[0].row)
