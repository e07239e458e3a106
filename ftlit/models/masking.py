"""Dynamic masking for masked language modeling.

Of the selected tokens, 80 % are replaced by the mask token, 10 % by a random token, and 10 % are kept (Devlin et al., 2019,
"BERT"). Tokens are selected anew for each batch, as in RoBERTa (Liu et al., 2019). Whole word masking selects all tokens of a
word together (Cui et al., 2019, "Pre-Training with Whole Word Masking for Chinese BERT").
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ftlit.util.batch import IGNORED


def mask_tokens(
    input_ids: Tensor,
    maskable: Tensor,
    mask_token_id: int,
    vocab_size: int,
    probability: float = 0.15,
    generator: torch.Generator | None = None,
    words: Tensor | None = None,
    replaced: float = 0.8,
    randomised: float = 0.1,
    special_ids: Iterable[int] = (),
) -> tuple[Tensor, Tensor]:
    """Mask tokens at random.

    At least one token is selected in each row that has a maskable token, so that every text has a target.

    Args:
        input_ids: Token ids, ``(batch, tokens)``. They are not modified.
        maskable: True for tokens that may be selected, which excludes padding and special tokens, ``(batch, tokens)``.
        mask_token_id: Id of the mask token.
        vocab_size: Random tokens have ids below this.
        probability: Probability of selecting a token, or a word.
        generator: Random generator on the device of the inputs. Defaults to the global one.
        words: For whole word masking, the word index of each token in its text or -1, ``(batch, tokens)``. The tokens of a
            word must be adjacent. Indices may start again in the second text of a pair.
        replaced: Fraction of the selected tokens that are replaced by the mask token.
        randomised: Fraction of the selected tokens that are replaced by a random token. The rest is kept.
        special_ids: Ids that are never drawn as random tokens.

    Returns:
        The masked ids, and labels with the original ids of selected tokens and -100 elsewhere, both ``(batch, tokens)``.

    Raises:
        ValueError: If a probability or fraction is not in [0, 1], or if `replaced` and `randomised` add up to more than 1.
    """
    _check_fractions(probability, replaced, randomised)
    selected = _select(maskable, probability, generator, words)
    outcome = torch.rand(input_ids.shape, generator=generator, device=input_ids.device)
    random_ids = _random_ids(input_ids, vocab_size, special_ids, generator)
    masked = torch.where(selected & (outcome < replaced + randomised), random_ids, input_ids)
    masked = torch.where(selected & (outcome < replaced), mask_token_id, masked)
    return masked, torch.where(selected, input_ids, IGNORED)


def _check_fractions(probability: float, replaced: float, randomised: float) -> None:
    for name, value in {"probability": probability, "replaced": replaced, "randomised": randomised}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    if replaced + randomised > 1:
        raise ValueError(f"replaced and randomised must add up to at most 1, got {replaced} and {randomised}")


def _select(maskable: Tensor, probability: float, generator: torch.Generator | None, words: Tensor | None) -> Tensor:
    """Select the tokens to predict. Returns a boolean mask, ``(batch, tokens)``."""
    draws = torch.rand(maskable.shape, generator=generator, device=maskable.device)
    if words is not None:
        draws = draws.gather(1, _word_indices(words))
    lowest = draws.masked_fill(~maskable, torch.inf).amin(dim=1, keepdim=True)
    return maskable & ((draws < probability) | (draws == lowest))


def _word_indices(words: Tensor) -> Tensor:
    """Number the words of each row from 0, ``(batch, tokens)``. A token that belongs to no word counts as a word."""
    # Compares neighbors only: with several texts in a row, equal indices can belong to different words.
    first = torch.ones_like(words, dtype=torch.bool)
    first[:, 1:] = (words[:, 1:] != words[:, :-1]) | (words[:, 1:] < 0)
    return first.cumsum(dim=1) - 1


def word_count(maskable: list[bool], words: list[int]) -> int:
    """Count the words of a text that have a maskable token, as `mask_tokens` does."""
    return len(_word_indices(torch.tensor([words]))[0][torch.tensor(maskable)].unique())


def expected_count(tokens: np.ndarray, words: np.ndarray, probability: float) -> np.ndarray:
    """Return the expected number of tokens that `mask_tokens` selects.

    All words are selected with the same probability. If none is selected, one is drawn uniformly, with ``tokens / words``
    tokens on average. The expectation is therefore exact for words of any length.

    Args:
        tokens: Number of maskable tokens of each text, ``(texts,)``.
        words: Number of words of each text with whole word masking, otherwise the same as `tokens`, ``(texts,)``. At least 1.
        probability: Probability of selecting a word.
    """
    return probability * tokens + (1 - probability) ** words * tokens / words


def _random_ids(input_ids: Tensor, vocab_size: int, special_ids: Iterable[int], generator: torch.Generator | None) -> Tensor:
    """Draw ids uniformly from the vocabulary without the special ids, ``(batch, tokens)``."""
    special = sorted({i for i in special_ids if i < vocab_size})
    high = vocab_size - len(special)
    ids = torch.randint(high, input_ids.shape, generator=generator, device=input_ids.device, dtype=input_ids.dtype)
    for i in special:  # in ascending order, each step skips one id
        ids += ids >= i
    return ids
