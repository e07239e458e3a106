"""Pairs of segments for next sentence prediction (Devlin et al., 2019, "BERT")."""

from collections.abc import Iterator

import numpy as np

from ftlit.data.packing import Piece


def halves(piece: Piece, size: int) -> Iterator[tuple[Piece, Piece]]:
    """A document as pairs of neighbouring segments, cut evenly between words; pairs have at most `size` tokens.

    Args:
        piece: A document.
        size: Tokens of both segments together, at most.
    """
    starts = [i for i in range(1, len(piece.ids)) if piece.words[i] != piece.words[i - 1]]
    pairs = -(-len(piece.ids) // size)
    bounds = np.linspace(0, len(piece.ids), 2 * pairs + 1).astype(int).tolist()
    # A second segment that began inside a word would give itself away.
    for first, middle, last in zip(bounds[:-2:2], bounds[1:-1:2], bounds[2::2], strict=True):
        cut = max((start for start in starts if first < start <= middle), default=None)
        cut = cut or min((start for start in starts if middle < start < last), default=None)
        if cut is not None:
            yield piece.part(first, cut), piece.part(cut, last)


def sentence_pairs(pieces: Iterator[Piece], size: int, seed: int) -> Iterator[tuple[Piece, Piece, int]]:
    """Pairs of segments, and 0 where the second follows the first or 1 where it comes from another document.

    Args:
        pieces: The documents.
        size: Tokens of both segments together, at most.
        seed: Decides which half of the pairs are from two documents.
    """
    found = [pair for piece in pieces for pair in halves(piece, size)]
    rng = np.random.default_rng([seed, len(found)])
    rows = np.array([first.row for first, _ in found])
    several = len(set(rows.tolist())) > 1
    apart = set(rng.permutation(len(found))[: len(found) // 2].tolist()) if several else set()
    for i, (first, second) in enumerate(found):
        if i not in apart:
            yield first, second, 0
            continue
        other = int(rng.integers(len(found)))
        while rows[other] == first.row:
            other = int(rng.integers(len(found)))
        yield first, found[other][1].part(0, size - len(first.ids)), 1
