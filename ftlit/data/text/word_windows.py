"""Windows over the words of a text that is longer than the model takes."""

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import NamedTuple


class Window(NamedTuple):
    """Words that go through the model together: those from `start` to `end`, of which `first` to `last` are its own.

    Ends are exclusive. Its own words are those that have most context in it; each word is some window's own once.
    """

    start: int
    end: int
    first: int
    last: int


def word_windows(lengths: list[int], capacity: int, stride: int) -> list[Window]:
    """Windows of whole words that overlap, as few as hold every word.

    A word's context in a window is the number of tokens before it or behind it, whichever is less, as in the windows of
    BERT's question answering (Devlin et al., 2019); of two windows with the same the earlier takes the word.

    Args:
        lengths: Tokens of each word, at least one and at most `capacity`.
        capacity: Tokens of a window.
        stride: Tokens that a window shares with the one before it, at most: less where a word would be cut, or where the
            next word needs the room.
    """
    bounds = [0, *accumulate(lengths)]
    edges = _edges(bounds, capacity, stride)

    def context(window: int, word: int) -> int:
        start, end = edges[window]
        return min(bounds[word] - bounds[start], bounds[end] - bounds[word + 1])

    owned: list[list[int]] = [[] for _ in edges]
    window = 0
    for word in range(len(lengths)):
        # From window to window a word's context rises, then falls, so the first peak is the highest.
        while window + 1 < len(edges) and context(window + 1, word) > context(window, word):
            window += 1
        owned[window].append(word)
    return [Window(*edge, words[0], words[-1] + 1) for edge, words in zip(edges, owned, strict=True) if words]


def _edges(bounds: list[int], capacity: int, stride: int) -> list[tuple[int, int]]:
    edges, end = [], 0
    while end < len(bounds) - 1:
        shared = min(stride, capacity - (bounds[end + 1] - bounds[end]))
        start = bisect_left(bounds, bounds[end] - shared)
        end = bisect_right(bounds, bounds[start] + capacity) - 1
        edges.append((start, end))
    return edges
