"""What the positions of tokens in a text tell: whether a tokenizer reports them rightly, and which tokens form a word."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftlit.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Offsets = Sequence[tuple[int, int]]
PROBE = "It came from a small town, in the far south: 17 houses and one bridge."
SAMPLE = 32  # texts that are compared beside the probe
TOLERATED = 0.1  # share of the tokens that may differ, since some tokenizers rewrite a few characters
# Scripts that put no spaces between words.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def check_offsets(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], backbone: str, user: str) -> None:
    """Check that the places of a tokenizer's tokens hold what the tokens say.

    Args:
        tokenizer: The tokenizer.
        texts: Texts of the data, of which the first ones are tried.
        backbone: Name of the model, for the message.
        user: What needs the places.

    Raises:
        UserError: If many tokens stand at other places of the text, with an example.
    """
    compared, wrong = 0, list[tuple[str, str]]()
    for text in [PROBE, *texts[:SAMPLE]]:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for token, (start, end) in zip(found["input_ids"], found["offset_mapping"], strict=True):
            said, there = str(tokenizer.decode([token])).strip().removeprefix("##"), text[start:end].strip()
            if said.isascii() and said.isalnum() and there.isascii() and token not in tokenizer.all_special_ids:
                compared += 1
                wrong += [] if said.casefold() == there.casefold() else [(said, there)]
    if len(wrong) > TOLERATED * compared:
        said, there = wrong[0]
        raise UserError(
            f"the tokenizer of {backbone!r} reports wrong places of its tokens, by which {user} finds them in the text: the "
            f"token {said!r} stands at {there!r}; mend its tokenizer.json (such as trim_offsets of its post_processor), or "
            "choose another model.backbone"
        )


def word_numbers(text: str, offsets: Offsets, words: Sequence[int | None]) -> list[int]:
    """Number the words that tokens belong to; -1 for tokens that belong to none.

    Words are those of the tokenizer. Some tokenizers count a whole text as one word: a new word also begins after white space,
    and with each character of a script that puts no spaces between words.

    Args:
        text: The text.
        offsets: Start and end of each token, in characters.
        words: Index of each token's word by the tokenizer, or None.
    """
    found, number, last, seen = list[int](), -1, None, -1  # `seen`: the last character of the word so far, or -1
    for (start, end), word in zip(offsets, words, strict=True):
        first = start + len(text[start:end]) - len(text[start:end].lstrip())
        if word != last or (0 <= seen < first and _begins_word(text, first, blank=start < first == end)):
            number, seen = number + (word is not None), -1
        last, seen = word, first if first < end else seen
        found.append(-1 if word is None else number)
    return found


def _begins_word(text: str, place: int, blank: bool) -> bool:
    """Whether a word begins at a place: after white space, or because of the script there or before it."""
    return blank or text[place - 1].isspace() or any(map(UNSPACED.match, text[place - 1 : place + 1]))
