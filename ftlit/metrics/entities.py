"""The words of a text, and the entities that tags mark among them, by their places in characters."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any

from ftlit.metrics.spans import entities

Offset = tuple[int, int]


@cache
def _splitter() -> Any:
    from tokenizers import Regex, pre_tokenizers

    alone = Regex(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{S}]")
    return pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(alone, "isolated")])


def word_offsets(text: str) -> list[Offset]:
    """Start and end of each word of a text, the same for every backbone.

    Words end at white space; punctuation marks, symbols and Chinese and Japanese characters are words of their own.
    """
    return [offset for _, offset in _splitter().pre_tokenize_str(text)]


def located_words(given: str | list[str]) -> tuple[str, list[Offset]]:
    """A text and the places of its words; words that are given as a list are joined by spaces."""
    if isinstance(given, str):
        return given, word_offsets(given)
    offsets, start = [], 0
    for word in given:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(given), offsets


def covered_words(start: int, end: int, offsets: Sequence[Offset]) -> tuple[int, int]:
    """First and last (exclusive) of the words that share a character with a part of the text."""
    first = bisect_right(offsets, start, key=lambda offset: offset[1])
    return first, bisect_left(offsets, end, key=lambda offset: offset[0])


def located_entities(
    tags: list[str], offsets: Sequence[Offset], text: str, begin: int = 0, scores: list[float] | None = None
) -> list[dict[str, Any]]:
    """The entities of a tagged text: ``label``, ``start`` and ``end`` in characters, ``text``, and perhaps ``score``.

    Args:
        tags: Tag of each word in IOB2.
        offsets: Start and end of each word.
        text: The text, or its part from `begin` on.
        begin: Where the given part begins.
        scores: Score of each word's tag; an entity's is their mean.
    """
    found = []
    for label, first, last in entities(tags):
        start, end = offsets[first][0], offsets[last - 1][1]
        entity = {"label": label, "start": start, "end": end, "text": text[start - begin : end - begin]}
        score = {"score": sum(scores[first:last]) / (last - first)} if scores is not None else {}
        found.append({**entity, **score})
    return found
