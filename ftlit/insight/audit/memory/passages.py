"""Passages of written texts that stand word for word in train."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ftlit.metrics.language import CJK

WORDS = re.compile(rf"[{CJK}]|[^\W{CJK}]+")  # words in small letters; of Chinese, single characters
OCCURRENCES = 20  # of a passage in train that are tried for a longer one
Words = list[str]


def words_of(text: str) -> Words:
    """The words of a text in small letters; of Chinese, single characters."""
    return WORDS.findall(text.lower())


@dataclass(frozen=True)
class Passage:
    """Words that two texts have in common, without a gap.

    Args:
        words: The words.
        text: Number of the text of train.
    """

    words: Words
    text: int


class TrainPassages:
    """Finds the longest passage of train in a text.

    Args:
        texts: The texts of train.
        least: Number of words of the shortest passage that counts.
    """

    def __init__(self, texts: Iterable[str], least: int) -> None:
        self.least, self.texts = least, [words_of(text) for text in texts]
        self.places: dict[int, list[tuple[int, int]]] = {}
        for number, words in enumerate(self.texts):
            for start in range(len(words) - least + 1):
                found = self.places.setdefault(hash(tuple(words[start : start + least])), [])
                if len(found) < OCCURRENCES:
                    found.append((number, start))

    def longest(self, text: str, given: Iterable[str] = ()) -> Passage | None:
        """The longest passage of train in a text.

        Args:
            text: The text.
            given: Texts that the model has read to write it. A passage that begins in them was copied, and does not count.

        Returns:
            The passage, or None if no passage has `least` words.
        """
        words, copied = words_of(text), self._starts(map(words_of, given))
        best = None
        for start in range(len(words) - self.least + 1):
            first = tuple(words[start : start + self.least])
            for number, place in () if first in copied else self.places.get(hash(first), ()):
                length = _common(words[start:], self.texts[number][place:])
                if length >= self.least and (best is None or length > len(best.words)):
                    best = Passage(words[start : start + length], number)
        return best

    def _starts(self, texts: Iterable[Words]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + self.least]) for words in texts for i in range(len(words) - self.least + 1)}


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of words with which two texts begin alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
