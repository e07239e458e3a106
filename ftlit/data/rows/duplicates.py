"""Texts of the training split that occur again in validation or test, exactly or nearly.

Near duplicates are pairs whose sets of shingles have a high Jaccard similarity. MinHash signatures, cut into bands,
find candidate pairs (Broder 1997, "On the resemblance and containment of documents"), which are then compared in full, so
that there are no false positives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftlit.data.rows.shingles import BLOCK, Codes, hashed_blocks, jaccard, normalised, shingles

PERMUTATIONS = 64
BUCKET_LIMIT = 100  # training texts of a bucket that are considered; thousands may come from one template
VERIFIED = 32  # candidates that are compared in full for one text, the most likely first


@dataclass(frozen=True)
class Repeat:
    """A text of the other split and the training text that it repeats; ``similarity`` is 1.0 for equal texts."""

    train_row: int
    other_row: int
    similarity: float
    train_text: str
    other_text: str


@dataclass(frozen=True)
class Overlap:
    """Number of rows of the other split that repeat a training text, with a few examples, exact ones first."""

    exact: int
    near: int
    examples: list[Repeat]


def find_overlap(train: Sequence[str], other: Sequence[str], examples: int = 3, threshold: float = 0.8) -> Overlap:
    """Count the texts of ``other`` that also occur in ``train``; the arguments are those of `find_overlaps`."""
    return find_overlaps(train, {"other": other}, examples, threshold)["other"]


def find_overlaps(
    train: Sequence[str], others: Mapping[str, Sequence[str]], examples: int = 3, threshold: float = 0.8
) -> dict[str, Overlap]:
    """Count the texts of each other split that also occur in ``train``.

    Args:
        train: The training texts.
        others: The texts of the other splits by name.
        examples: Maximum number of examples to return for each split.
        threshold: Minimum Jaccard similarity of the shingles of near duplicates, above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it should be above 0 and at most 1")
    first_rows: dict[str, int] = {}
    for row, text in enumerate(train):
        first_rows.setdefault(normalised(text), row)
    texts = {split: [normalised(text) for text in other] for split, other in others.items()}
    rest = [(split, row) for split, found in texts.items() for row, text in enumerate(found) if text not in first_rows]
    known, known_rows = list(first_rows), list(first_rows.values())
    near: dict[str, list[tuple[int, int, float]]] = {split: [] for split in others}
    for i, j, similarity in _near(known, [texts[split][row] for split, row in rest], threshold):
        near[rest[j][0]].append((known_rows[i], rest[j][1], similarity))
    found = {}
    for split, other in others.items():
        exact = [(first_rows[text], row, 1.0) for row, text in enumerate(texts[split]) if text in first_rows]
        shown = [Repeat(i, j, similarity, train[i], other[j]) for i, j, similarity in (*exact, *near[split])][:examples]
        found[split] = Overlap(len(exact), len(near[split]), shown)
    return found


def _near(train: list[str], other: list[str], threshold: float) -> list[tuple[int, int, float]]:
    """For each text of ``other`` with a near duplicate: index of the training text, own index, similarity."""
    likely_train = _likely(train, other, threshold)
    likely_other = _likely(other, [train[i] for i in likely_train], threshold)
    found = _near_likely([train[i] for i in likely_train], [other[j] for j in likely_other], threshold)
    return [(int(likely_train[i]), int(likely_other[j]), similarity) for i, j, similarity in found]


def _likely(texts: list[str], others: list[str], threshold: float) -> npt.NDArray[np.int64]:
    """Indices of the texts that may be like one of ``others``, since enough of their shingles occur anywhere in them.

    The shingles of ``others`` are kept as bits in a table, so that a few more may seem to occur, but none is missed.
    """
    if not texts or not others:
        return np.empty(0, dtype=np.int64)
    bits = int(np.clip(np.ceil(np.log2(4 * sum(map(len, others)) + 1)), 16, 26))
    table, shift = np.zeros(2**bits, dtype=bool), np.uint64(64 - bits)
    for _, hashes, _ in hashed_blocks(others):
        table[hashes >> shift] = True
    kept = []
    for start, hashes, begins in hashed_blocks(texts):
        counts = np.diff(begins, append=len(hashes))
        present = np.add.reduceat(table[hashes >> shift], begins, dtype=np.int64)
        kept.append(start + np.flatnonzero(present >= threshold * counts - 1e-6))
    return np.concatenate(kept)


def _near_likely(train: list[str], other: list[str], threshold: float) -> list[tuple[int, int, float]]:
    if not train or not other:
        return []
    size = _band_size(threshold)
    train_signatures = _signatures(train)
    buckets = [(keys[order := np.argsort(keys, kind="stable")], order) for keys in _bands(train_signatures, size)]
    found = []
    for start in range(0, len(other), BLOCK):
        signatures = _signatures(other[start : start + BLOCK])
        rows, candidates = _candidates(buckets, signatures, size)
        starting, first = np.unique(rows, return_index=True)
        for row, alike in zip(starting, np.split(candidates, first[1:]), strict=False):
            agreement = (train_signatures[alike] == signatures[row]).sum(axis=1)
            own = shingles(other[start + row])
            for i in alike[np.argsort(-agreement, kind="stable")[:VERIFIED]].tolist():
                if (similarity := jaccard(own, shingles(train[i]))) >= threshold:
                    found.append((i, start + int(row), similarity))
                    break
    return found


def _band_size(threshold: float) -> int:
    """The largest band that finds 999 of 1000 pairs with similarity ``threshold``: 1 - (1 - t^size)^bands."""
    sizes = range(1, 17)
    met = [1 - (1 - threshold**size) ** (PERMUTATIONS // size) for size in sizes]
    return max((size for size, share in zip(sizes, met, strict=True) if share >= 0.999), default=1)


def _signatures(texts: list[str]) -> npt.NDArray[np.uint32]:
    """MinHash signatures, ``(texts, permutations)``: the minimum of each hash function over a text's shingles."""
    generator = np.random.default_rng(1997)
    factors, offsets = generator.integers(1, 2**63, size=(2, PERMUTATIONS), dtype=np.uint64)
    signatures = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    for start, values, begins in hashed_blocks(texts):
        for column, (factor, offset) in enumerate(zip(factors | np.uint64(1), offsets, strict=True)):
            hashed = (values * factor + offset) >> np.uint64(32)
            signatures[start : start + len(begins), column] = np.minimum.reduceat(hashed, begins)
    return signatures


def _bands(signatures: npt.NDArray[np.uint32], size: int) -> Iterator[Codes]:
    """For each band of ``size`` columns, one key for each text."""
    weights = np.random.default_rng(size).integers(1, 2**63, size=size, dtype=np.uint64) | np.uint64(1)
    for start in range(0, PERMUTATIONS - size + 1, size):
        yield (signatures[:, start : start + size].astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64)


def _candidates(
    buckets: list[tuple[Codes, npt.NDArray[np.int64]]], signatures: npt.NDArray[np.uint32], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct pairs (row of ``signatures``, training text) that share a band, ordered by row."""
    total = len(buckets[0][0])
    pairs = []
    for (keys, order), wanted in zip(buckets, _bands(signatures, size), strict=True):
        left = np.searchsorted(keys, wanted, side="left")
        counts = np.minimum(np.searchsorted(keys, wanted, side="right") - left, BUCKET_LIMIT)
        rows = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs.append(rows * total + order[np.repeat(left, counts) + within])
    unique = np.unique(np.concatenate(pairs))
    return unique // total, unique % total
