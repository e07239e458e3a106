"""Words of a text, and entities tagged in it, with character offsets."""

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
    """Split a text into words and return their start and end offsets. The words do not depend on the backbone.

    Words are separated by white space. Punctuation, symbols and Chinese and Japanese characters are separate words.
    """
    return [offset for _, offset in _splitter().pre_tokenize_str(text)]


def located_words(given: str | list[str]) -> tuple[str, list[Offset]]:
    """Return a text and the offsets of its words. A list of words is joined by spaces."""
    if isinstance(given, str):
        return given, word_offsets(given)
    offsets, start = [], 0
    for word in given:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(given), offsets


def covered_words(start: int, end: int, offsets: Sequence[Offset]) -> tuple[int, int]:
    """Return the range of words, end exclusive, that overlap with a range of characters."""
    first = bisect_right(offsets, start, key=lambda offset: offset[1])
    return first, bisect_left(offsets, end, key=lambda offset: offset[0])


def located_entities(
    tags: list[str], offsets: Sequence[Offset], text: str, begin: int = 0, scores: list[float] | None = None
) -> list[dict[str, Any]]:
    """Return the entities of a tagged text as dicts with ``label``, ``start``, ``end``, ``text`` and optionally ``score``.

    Args:
        tags: IOB2 tag of each word.
        offsets: Start and end offset of each word.
        text: The text, or the part of it from `begin`.
        begin: Offset of the given part in the text.
        scores: Score of each word's tag. The score of an entity is their mean.
    """
    found = []
    for label, first, last in entities(tags):
        start, end = offsets[first][0], offsets[last - 1][1]
        entity = {"label": label, "start": start, "end": end, "text": text[start - begin : end - begin]}
        score = {"score": sum(scores[first:last]) / (last - first)} if scores is not None else {}
        found.append({**entity, **score})
    return found
