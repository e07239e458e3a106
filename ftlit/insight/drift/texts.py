"""What can be counted in texts: words, scripts, and the words that two samples differ in."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ftlit.metrics.language import CJK

WORDS = re.compile(rf"[{CJK}]|[^\W{CJK}]+")
PRIOR = 0.1  # size of the prior in words of the smaller sample
MIXED = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}  # scripts under the names that people use


def words(text: str) -> list[str]:
    """The words of a text in lower case; in Chinese and Japanese, each character is a word."""
    return [word.casefold() for word in WORDS.findall(text)]


def scripts(text: str) -> Counter[str]:
    """Number of letters of each script, such as Latin, Cyrillic or Han."""
    found: Counter[str] = Counter()
    for sign, count in Counter(text).items():
        if name := _script(sign):
            found[name] += count
    return found


@cache
def _script(sign: str) -> str:
    """The script of a letter, which is the first word of its name in Unicode; empty for other signs."""
    if not sign.isalpha():
        return ""
    first = unicodedata.name(sign, "UNKNOWN").split()[0].split("-")[0]
    return MIXED.get(first, first.capitalize())


def mix(found: Sequence[Counter[str]]) -> tuple[list[str], np.ndarray]:
    """The kinds in some counts, most frequent first, and how often each row has each, ``(rows, kinds)``."""
    kinds = [kind for kind, _ in sum(found, Counter[str]()).most_common()]
    places = {kind: i for i, kind in enumerate(kinds)}
    counts = np.zeros((len(found), len(kinds)))
    for row, kinds_of_row in zip(counts, found, strict=True):
        for kind, count in kinds_of_row.items():
            row[places[kind]] = count
    return kinds, counts


@dataclass(frozen=True)
class Term:
    """A word or token that is more frequent in one sample.

    Args:
        term: The word or token.
        reference: How often it occurs in the reference.
        new: How often it occurs in the new rows.
        z: Logarithm of the odds ratio, divided by its standard deviation; positive if it is more frequent in the new rows.
    """

    term: str
    reference: int
    new: int
    z: float


def log_odds(reference: Counter[str], new: Counter[str], most: int) -> tuple[list[Term], list[Term]]:
    """The terms that are most over- and under-represented in the new rows, by log-odds with a prior (Monroe et al., 2008).

    The Dirichlet prior is as large as a tenth of the smaller sample, and distributed as both samples together.

    Args:
        reference: How often each term occurs in the reference.
        new: How often each occurs in the new rows.
        most: Number of terms of each kind.
    """
    terms = sorted(reference.keys() | new.keys())
    if len(terms) < 2:
        return [], []
    old, fresh = (np.array([count[term] for term in terms], dtype=float) for count in (reference, new))
    z = _z(old, fresh)
    order = np.argsort(-z, kind="stable")
    both = (order[:most], order[::-1][:most])
    over, under = ([Term(terms[i], int(old[i]), int(fresh[i]), float(z[i])) for i in places] for places in both)
    return [term for term in over if term.z > 0], [term for term in under if term.z < 0]


def _z(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The z-scores of terms from their counts, all ``(terms,)``."""
    size = PRIOR * max(min(old.sum(), new.sum()), 1)
    prior = size * (old + new) / (old.sum() + new.sum())
    odds = [np.log((count + prior) / (count.sum() + size - count - prior)) for count in (old, new)]
    return (odds[1] - odds[0]) / np.sqrt(1 / (new + prior) + 1 / (old + prior))
