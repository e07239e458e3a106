"""Windows over the words of a text that is too long for the model."""

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import NamedTuple


class Window(NamedTuple):
    """The words from `start` to `end`, of which those from `first` to `last` are the window's own; ends are exclusive.

    A window's own words are those that have most context in it; each word is an own word of exactly one window.
    """

    start: int
    end: int
    first: int
    last: int


def word_windows(lengths: list[int], capacity: int, stride: int) -> list[Window]:
    """The smallest number of overlapping windows of whole words that cover all words.

    A word's context in a window is the smaller number of the tokens before and after it, as in the windows of BERT's
    question answering (Devlin et al., 2019); a word with the same context in two windows belongs to the earlier one.

    Args:
        lengths: Number of tokens of each word, between 1 and `capacity`.
        capacity: Number of tokens of a window.
        stride: Maximum number of tokens that a window shares with the one before it; fewer if a word would be cut or the next
            word needs the room.
    """
    bounds = [0, *accumulate(lengths)]
    edges = _edges(bounds, capacity, stride)

    def context(window: int, word: int) -> int:
        start, end = edges[window]
        return min(bounds[word] - bounds[start], bounds[end] - bounds[word + 1])

    owned: list[list[int]] = [[] for _ in edges]
    window = 0
    for word in range(len(lengths)):
        # A word's context rises and then falls from window to window, so the first peak is the highest.
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
