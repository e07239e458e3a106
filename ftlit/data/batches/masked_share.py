"""The share of the tokens of masked language modeling that is really masked."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.errors import UserError
from ftlit.models.masking import expected_count
from ftlit.util.batch import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

MOST_MASKED = 0.9  # share of the tokens above which whole words leave nothing to predict from
SAMPLE = 128  # blocks of which masks are drawn for the report
MASKED = "of the tokens are masked"


def check_masked_share(blocks: "Dataset", probability: float) -> None:
    """Check that whole words leave some tokens as context, which blocks of a single long word do not.

    Args:
        blocks: The blocks of a split.
        probability: Probability of a word to be masked.

    Raises:
        UserError: If they do not.
    """
    counts = blocks.select_columns(["maskable", "maskable_words"])[:]
    tokens, words = (np.array(counts[name], dtype=float) for name in ("maskable", "maskable_words"))
    share, alone = (expected_count(tokens, units, probability).sum() / tokens.sum() for units in (words, tokens))
    if share > max(MOST_MASKED, 2 * alone):
        raise UserError(
            f"model.whole_words would mask {share:.0%} of the tokens, and model.mask_probability is {probability}: the texts "
            "have too few words for their tokens; set model.whole_words: false"
        )


def masked_share(blocks: "Dataset", mask: Callable[[dict[str, Any], int], list[int]]) -> float:
    """The share of the tokens that may be masked which the first epoch really masks, in an even sample of blocks.

    Args:
        blocks: The blocks of a split.
        mask: From a block and its position to its labels.
    """
    places = np.unique(np.linspace(0, len(blocks) - 1, min(SAMPLE, len(blocks))).astype(int)).tolist()
    chosen = [(blocks[i], i) for i in places]
    masked = sum(label != IGNORED for block, i in chosen for label in mask(block, i))
    return masked / sum(block["maskable"] for block, _ in chosen)


def masked_warning(share: float, probability: float) -> list[str]:
    """A sentence if much more is masked than the probability says; at least one token of each block is."""
    if share <= 1.5 * probability:
        return []
    return [
        f"{share:.0%} {MASKED}, not about {probability:.0%} as model.mask_probability says, since its blocks are so short that "
        "one token or word of each is a large part"
    ]
