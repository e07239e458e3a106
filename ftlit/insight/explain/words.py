"""The words of texts, and the tokens of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftlit.metrics.entities import Offset, covered_words, word_offsets

Place = tuple[str, int, int] | None  # the column of a token and its characters there; None for tokens that are no text
SPECIAL = -1  # the word of a token that is no text


@dataclass(frozen=True)
class Word:
    """A word of a row.

    Args:
        text: Its characters.
        column: The column that holds it.
        start: Its first character in the text of the column.
        end: The character behind its last one.
    """

    text: str
    column: str
    start: int
    end: int


@dataclass(frozen=True)
class Words:
    """The words of a sequence of tokens.

    Args:
        words: The words that have tokens, in the order of these.
        of_tokens: For each token the position of its word, or -1 for special tokens.
    """

    words: list[Word]
    of_tokens: list[int]


def words_of(texts: Mapping[str, str], places: Sequence[Place]) -> Words:
    """Return the words of texts, and which of them the tokens belong to.

    Words are those of `word_offsets`: they are separated by white space; punctuation marks and Chinese characters are words of
    their own. Words that share a token become one word. A token of white space belongs to the word behind it.

    Args:
        texts: The texts by their columns.
        places: The place of each token in them, in the order of the texts.
    """
    offsets = {column: word_offsets(text) for column, text in texts.items()}
    spans: list[tuple[str, int, int]] = []
    of_tokens: list[int | None] = []
    for place in places:
        if place is None:
            of_tokens.append(SPECIAL)
            continue
        column, start, end = _stripped(texts[place[0]], place)
        if start == end:
            of_tokens.append(None)  # white space, whose word comes later
            continue
        start, end = _whole(start, end, offsets[column])
        if spans and spans[-1][0] == column and start < spans[-1][2]:
            spans[-1] = (column, min(start, spans[-1][1]), max(end, spans[-1][2]))
        else:
            spans.append((column, start, end))
        of_tokens.append(len(spans) - 1)
    words = [Word(texts[column][start:end], column, start, end) for column, start, end in spans]
    return Words(words, _settled(of_tokens))


def _stripped(text: str, place: tuple[str, int, int]) -> tuple[str, int, int]:
    """A place without the white space around it."""
    column, start, end = place
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return column, start, max(start, start + len(part.strip()))


def _whole(start: int, end: int, offsets: Sequence[Offset]) -> tuple[int, int]:
    """The characters of all words that have some of a range of characters."""
    first, last = covered_words(start, end, offsets)
    if first >= last:
        return start, end  # a control character, which belongs to no word
    return min(start, offsets[first][0]), max(end, offsets[last - 1][1])


def _settled(of_tokens: Sequence[int | None]) -> list[int]:
    """Give tokens without a word that of the next token, or at the end that of the one before them."""
    found: list[int] = []
    behind = SPECIAL
    for word in reversed(of_tokens):
        behind = behind if word is None else word
        found.append(behind if word is None else word)
    found.reverse()
    for i, word in enumerate(of_tokens):
        if word is None and found[i] == SPECIAL and i:
            found[i] = found[i - 1]
    return found
