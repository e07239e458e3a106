"""Pairs of segments for next sentence prediction (Devlin et al., 2019, "BERT")."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from ftlit.data.batches.document_packing import Piece

SINGLE = "tokens of stretches of a single word, which make no pair"
UNUSED = "tokens of second segments that are in no pair"


def segment_pairs(piece: Piece, size: int) -> Iterator[tuple[Piece, Piece]]:
    """Cut a document evenly into pairs of neighbouring segments, between words.

    A stretch of a single word makes no pair.

    Args:
        piece: A document.
        size: Maximum number of tokens of both segments together.
    """
    starts = [i for i in range(1, len(piece.ids)) if piece.words[i] != piece.words[i - 1]]
    pairs = -(-len(piece.ids) // size)
    bounds = np.linspace(0, len(piece.ids), 2 * pairs + 1).astype(int).tolist()
    for first, middle, last in zip(bounds[:-2:2], bounds[1:-1:2], bounds[2::2], strict=True):
        cut = _cut(starts, first, middle, last)
        if cut is not None:
            yield piece.part(first, cut), piece.part(cut, last)


def _cut(starts: list[int], first: int, middle: int, last: int) -> int | None:
    """The start of a word next to the middle of a stretch: at or before it, or else after it."""
    # A second segment that began inside a word would give itself away.
    behind = bisect_right(starts, middle)
    if behind and starts[behind - 1] > first:
        return starts[behind - 1]
    return starts[behind] if behind < len(starts) and starts[behind] < last else None


def sentence_pairs(pieces: Iterable[Piece], size: int, seed: int, lost: Counter[str]) -> Iterator[tuple[Piece, Piece, int]]:
    """Pairs of segments, with 0 if the second follows the first and 1 if it comes from another document.

    Args:
        pieces: The documents.
        size: Maximum number of tokens of both segments together.
        seed: Seed of the choice of those pairs, half of all, that come from two documents.
        lost: Counts the tokens that are in no pair.
    """
    found: list[tuple[Piece, Piece]] = []
    for piece in pieces:
        pairs = list(segment_pairs(piece, size))
        lost[SINGLE] += len(piece.ids) - sum(len(part.ids) for pair in pairs for part in pair)
        found += pairs
    rng = np.random.default_rng([seed, len(found)])
    rows = [first.row for first, _ in found]
    several = len(set(rows)) > 1
    apart = set(rng.permutation(len(found))[: len(found) // 2].tolist()) if several else set()
    used = [0 if i in apart else len(second.ids) for i, (_, second) in enumerate(found)]
    for i, (first, second) in enumerate(found):
        if i in apart:
            other = _elsewhere(rows, first.row, rng)
            second = found[other][1].part(0, size - len(first.ids))
            used[other] = max(used[other], len(second.ids))
        yield first, second, int(i in apart)
    lost[UNUSED] += sum(len(second.ids) for _, second in found) - sum(used)


def _elsewhere(rows: list[int], row: int, rng: np.random.Generator) -> int:
    """A random position in ascending `rows` with another row than `row`."""
    begin, end = bisect_left(rows, row), bisect_right(rows, row)
    place = int(rng.integers(len(rows) - (end - begin)))
    return place if place < begin else place + end - begin
