"""Shingles of texts: short sequences of words or characters, whose sets are similar where the texts are."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint64]

BLOCK = 500  # texts processed together, which bounds the memory
WORDS, CHARACTERS = 3, 5  # of a shingle
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


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
    if by_words(text):
        words = text.split()
        return set(zip(words, words[1:], words[2:], strict=False))
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(a: set[Hashable], b: set[Hashable]) -> float:
    """Jaccard similarity: the size of the intersection divided by the size of the union."""
    return len(a & b) / len(a | b)


def by_words(text: str) -> bool:
    """Whether the shingles of a text consist of words, not of characters."""
    return text.count(" ") >= 3 and (text.isascii() or 2 * len(UNSPACED.findall(text)) <= len(text))


class _WordCodes(dict[str, int]):
    """A number for each word; unlike ``hash()``, it is the same in every process."""

    def __missing__(self, word: str) -> int:
        self[word] = code = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return code


def hashed_blocks(texts: Sequence[str]) -> Iterator[tuple[int, Codes, npt.NDArray[np.int64]]]:
    """Hashes of the distinct shingles of all texts, a block of texts at a time.

    Yields:
        The position of the first text of the block; the hashes of its texts, one text after the other; and the place in them
        at which each text begins, ``(texts,)``.
    """
    known = _WordCodes()
    for start in range(0, len(texts), BLOCK):
        yield (start, *_hashed(texts[start : start + BLOCK], known))


def _hashed(texts: Sequence[str], known: _WordCodes) -> tuple[Codes, npt.NDArray[np.int64]]:
    spaced = np.array([by_words(text) for text in texts])
    words = [texts[i].split() for i in np.flatnonzero(spaced).tolist()]
    word_codes = np.array([known[word] for row in words for word in row], dtype=np.uint64)
    found = [_windows(word_codes, [len(row) for row in words], WORDS)]
    rows = [texts[i].ljust(CHARACTERS, "\0") for i in np.flatnonzero(~spaced).tolist()]
    codes = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    found.append(_windows(codes, [len(row) for row in rows], CHARACTERS))
    owners = np.concatenate([np.flatnonzero(kind)[own] for kind, (_, own) in zip((spaced, ~spaced), found, strict=True)])
    values = np.concatenate([hashes for hashes, _ in found])
    # A shingle that a text repeats is left out; those of different texts differ by the owner's share of the key.
    _, first = np.unique(values + owners.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), return_index=True)
    order = first[np.argsort(owners[first], kind="stable")]
    return values[order], np.searchsorted(owners[order], np.arange(len(texts)))


_WEIGHTS = np.random.default_rng(5).integers(1, 2**63, size=CHARACTERS, dtype=np.uint64) | np.uint64(1)


def _windows(codes: Codes, sizes: list[int], length: int) -> tuple[Codes, npt.NDArray[np.int64]]:
    """A 64-bit hash of each sequence of neighbouring codes in one text, and the index of that text.

    Args:
        codes: The codes of all texts, one text after the other.
        sizes: Number of codes of each text, at least `length`.
        length: Number of codes in a sequence.
    """
    if not sizes:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    counts = np.array(sizes) - length + 1
    owners = np.repeat(np.arange(len(sizes)), counts)
    begins = np.arange(counts.sum()) + owners * (length - 1)
    mixed = codes[begins] * _WEIGHTS[0]
    for i in range(1, length):
        mixed += codes[begins + i] * _WEIGHTS[i]
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)  # a step of the splitmix64 generator, which spreads similar codes
    return mixed ^ (mixed >> np.uint64(29)), owners
