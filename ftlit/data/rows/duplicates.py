"""Texts of the training split that occur again in validation or test, exactly or nearly.

Near duplicates are pairs whose sets of shingles have a high Jaccard similarity. MinHash signatures, cut into bands,
find candidate pairs (Broder 1997, "On the resemblance and containment of documents"), which are then compared in full, so
that there are no false positives.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint64]

PERMUTATIONS = 64
BLOCK = 500  # texts processed together, which bounds the memory
BUCKET_LIMIT = 100  # training texts of a bucket that are considered; thousands may come from one template
VERIFIED = 32  # candidates that are compared in full for one text, the most likely first
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


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
    """Count the texts of ``other`` that also occur in ``train``.

    Args:
        train: The training texts.
        other: The texts of the other split.
        examples: Maximum number of examples to return.
        threshold: Minimum Jaccard similarity of the shingles of near duplicates, above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it should be above 0 and at most 1")
    first_rows: dict[str, int] = {}
    for row, text in enumerate(train):
        first_rows.setdefault(normalised(text), row)
    texts = [normalised(text) for text in other]
    exact = [row for row, text in enumerate(texts) if text in first_rows]
    rest = [row for row, text in enumerate(texts) if text not in first_rows]
    known, known_rows = list(first_rows), list(first_rows.values())
    found = _near(known, [texts[row] for row in rest], threshold) if known and rest else []
    pairs = [(first_rows[texts[row]], row, 1.0) for row in exact[:examples]]
    pairs += [(known_rows[i], rest[j], similarity) for i, j, similarity in found[: max(0, examples - len(pairs))]]
    shown = [Repeat(i, j, similarity, train[i], other[j]) for i, j, similarity in pairs]
    return Overlap(len(exact), len(found), shown)


class _Blanks(dict[int, str]):
    """A table for ``str.translate`` that maps punctuation, separators and control characters to spaces."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        blank = unicodedata.category(character)[0] in "PZ" or unicodedata.category(character) == "Cc"
        self[code] = " " if blank else character
        return self[code]


_BLANKS = _Blanks()


def normalised(text: str) -> str:
    """``text`` without differences of case, Unicode form, white space and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # A text of punctuation only, such as "?!", must not equal every other one.
    return " ".join(folded.translate(_BLANKS).split()) or folded.strip()


def shingles(text: str) -> set[Hashable]:
    """All word trigrams; for texts with fewer than four words or without spaces, all sequences of five characters."""
    if _by_words(text):
        words = text.split()
        return set(zip(words, words[1:], words[2:], strict=False))
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(a: set[Hashable], b: set[Hashable]) -> float:
    """Jaccard similarity: the size of the intersection divided by the size of the union."""
    return len(a & b) / len(a | b)


def _by_words(text: str) -> bool:
    return text.count(" ") >= 3 and 2 * len(UNSPACED.findall(text)) <= len(text)


def _near(train: list[str], other: list[str], threshold: float) -> list[tuple[int, int, float]]:
    """For each text of ``other`` with a near duplicate: index of the training text, own index, similarity."""
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
    for start in range(0, len(texts), BLOCK):
        hashes = [_hashes(text) for text in texts[start : start + BLOCK]]
        starts = np.cumsum([0, *map(len, hashes[:-1])])
        values = np.concatenate(hashes)
        for column, (factor, offset) in enumerate(zip(factors | np.uint64(1), offsets, strict=True)):
            hashed = (values * factor + offset) >> np.uint64(32)
            signatures[start : start + len(hashes), column] = np.minimum.reduceat(hashed, starts)
    return signatures


_WEIGHTS = np.random.default_rng(5).integers(1, 2**63, size=5, dtype=np.uint64) | np.uint64(1)


def _hashes(text: str) -> Codes:
    """A 64-bit hash of each shingle of ``text``; unlike ``hash()``, it is the same in every process."""
    if _by_words(text):
        length = 3
        codes = np.array([zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in text.split()], dtype=np.uint64)
    else:
        length = 5
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
        codes = np.pad(codes, (0, max(0, length - len(codes))))
    count = len(codes) - length + 1
    mixed = codes[:count] * _WEIGHTS[0]
    for i in range(1, length):
        mixed += codes[i : i + count] * _WEIGHTS[i]
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)  # a step of the splitmix64 generator, which spreads similar codes
    return mixed ^ (mixed >> np.uint64(29))


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
