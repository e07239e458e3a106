"""The text of tokens that come one after the other, of which every part that is shown stays as it is."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from ftlit.models.generation import frame

HALF = "\ufffd"  # stands for bytes that are no character, or not yet
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Decoder:
    """Makes texts from the tokens that a task generates.

    Args:
        task: The task, with its `tokenizer`, its `model` and `keep_special_tokens`.
    """

    def __init__(self, task: Any) -> None:
        self.tokenizer, self.keep = task.tokenizer, task.keep_special_tokens
        self.begins, self.ends = frame(task.model)

    def text(self, ids: list[int]) -> str:
        """The text of tokens, with the white space around it."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=not self.keep))

    def settled(self, ids: list[int]) -> str:
        """The beginning of the text that further tokens do not change."""
        end = len(ids)
        while end and ids[end - 1] in self._bytes:
            end -= 1
        text = self.text(ids[:end]).rstrip(HALF)
        return " ".join(text.split(" ")[:-2]) if self._tidies else text

    @cached_property
    def _bytes(self) -> set[int]:
        """Tokens of single bytes, which are characters only together."""
        return {i for token, i in self.tokenizer.get_vocab().items() if BYTE.fullmatch(token)}

    @cached_property
    def _tidies(self) -> bool:
        """Whether the tokenizer takes out spaces before marks such as ``.`` and ``'s`` once it sees them."""
        decoder = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "decoder", None)
        return bool(self.tokenizer.clean_up_tokenization_spaces) or type(decoder).__name__ == "WordPiece"

    def special_ids(self, texts: Iterable[str]) -> set[int]:
        """The special tokens among texts, which are not part of a text that is shown."""
        special = dict(zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True))
        return {special[text] for text in texts if text in special}


def cut_at(text: str, stops: Sequence[str]) -> str | None:
    """What stands before the first of some strings in a text, or None if none is in it."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(found)] if found else None


def without_begun(text: str, stops: Sequence[str]) -> str:
    """A text without its last characters if one of some strings may begin with them."""
    longest = min(max(map(len, stops), default=1) - 1, len(text))
    lengths = (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in stops))
    return text[: len(text) - next(lengths, 0)]
