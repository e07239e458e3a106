"""Dynamic masking for masked language modelling: other tokens are chosen each time a text is seen.

Of the chosen tokens 80 % become the mask token, 10 % a random token, and 10 % stay, so that the model cannot know which
inputs to trust (Devlin et al., 2019, "BERT"). Drawing anew for each batch is RoBERTa's way (Liu et al., 2019); choosing
all tokens of a word together is whole word masking (Cui et al., 2019, "Pre-Training with Whole Word Masking for Chinese
BERT").
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
    """Masked inputs, and labels that are the original ids where a token was chosen and -100 elsewhere.

    At least one maskable token is chosen in each row that has any, so that no text is without a target.

    Args:
        input_ids: Token ids, ``(batch, tokens)``; they stay as they are.
        maskable: True where a token may be chosen, ``(batch, tokens)``: not for padding and special tokens.
        mask_token_id: Id of the mask token.
        vocab_size: Ids below it are drawn as random tokens.
        probability: Chance of each token, or of each word, to be chosen.
        generator: Source of the chance, on the device of the inputs; by default the global one of that device.
        words: For whole word masking the number of each token's word in its text, -1 for none, ``(batch, tokens)``;
            the tokens of a word stand side by side, and numbers may begin again in the second text of a pair.
        replaced: Share of the chosen tokens that become the mask token.
        randomised: Share of the chosen tokens that become a random token; the rest stay.
        special_ids: Ids that are never drawn as random tokens.

    Raises:
        ValueError: A share is not between 0 and 1, or `replaced` and `randomised` are more than 1 together.
    """
    _check_shares(probability, replaced, randomised)
    chosen = _chosen(maskable, probability, generator, words)
    fate = torch.rand(input_ids.shape, generator=generator, device=input_ids.device)
    drawn = _random_ids(input_ids, vocab_size, special_ids, generator)
    masked = torch.where(chosen & (fate < replaced + randomised), drawn, input_ids)
    masked = torch.where(chosen & (fate < replaced), mask_token_id, masked)
    return masked, torch.where(chosen, input_ids, IGNORED)


def _check_shares(probability: float, replaced: float, randomised: float) -> None:
    for name, value in {"probability": probability, "replaced": replaced, "randomised": randomised}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it should be from 0 to 1")
    if replaced + randomised > 1:
        raise ValueError(f"replaced and randomised are {replaced} and {randomised}; together they should be at most 1")


def _chosen(maskable: Tensor, probability: float, generator: torch.Generator | None, words: Tensor | None) -> Tensor:
    """True for the tokens to predict, ``(batch, tokens)``."""
    draws = torch.rand(maskable.shape, generator=generator, device=maskable.device)
    if words is not None:
        draws = draws.gather(1, _word_of(words))
    lowest = draws.masked_fill(~maskable, torch.inf).amin(dim=1, keepdim=True)
    return maskable & ((draws < probability) | (draws == lowest))


def _word_of(words: Tensor) -> Tensor:
    """The place of each token's word in its row, counted from 0, ``(batch, tokens)``; a token without word is its own."""
    # Runs, not equal numbers: in a pair of texts, or several in a row, the same number is another word.
    first = torch.ones_like(words, dtype=torch.bool)
    first[:, 1:] = (words[:, 1:] != words[:, :-1]) | (words[:, 1:] < 0)
    return first.cumsum(dim=1) - 1


def word_count(maskable: list[bool], words: list[int]) -> int:
    """Words of a text that have a maskable token, told apart as `mask_tokens` does."""
    return len(_word_of(torch.tensor([words]))[0][torch.tensor(maskable)].unique())


def expected_count(tokens: np.ndarray, words: np.ndarray, probability: float) -> np.ndarray:
    """Tokens that `mask_tokens` chooses on average.

    Each word is chosen with the same probability, and where that chooses none, each is the one that is taken with the same
    chance: of ``tokens / words`` tokens on average, so that the sum is exact however long the words are.

    Args:
        tokens: Maskable tokens of each text, ``(texts,)``.
        words: Words that these make, where words are chosen whole, else the same again, ``(texts,)``; 1 or more.
        probability: Chance of each word to be chosen.
    """
    return probability * tokens + (1 - probability) ** words * tokens / words


def _random_ids(input_ids: Tensor, vocab_size: int, special_ids: Iterable[int], generator: torch.Generator | None) -> Tensor:
    """Ids drawn uniformly from the vocabulary without the special ones, ``(batch, tokens)``."""
    special = sorted({i for i in special_ids if i < vocab_size})
    high = vocab_size - len(special)
    ids = torch.randint(high, input_ids.shape, generator=generator, device=input_ids.device, dtype=input_ids.dtype)
    for i in special:  # in ascending order each step makes room for one id
        ids += ids >= i
    return ids
