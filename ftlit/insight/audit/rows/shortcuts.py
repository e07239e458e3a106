"""Words that are tied to a label in train, and how much the model leans on them."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from statistics import NormalDist
from typing import Any

import pandas as pd

from ftlit.insight.audit.pairs.compared import LEAST_TEXTS, Pair
from ftlit.insight.audit.statistics import UNKNOWN, mean
from ftlit.insight.audit.subject import Subject
from ftlit.insight.audit.texts.edits import Edit, variant
from ftlit.insight.audit.texts.substitution import texts_in
from ftlit.insight.shares import wilson
from ftlit.metrics.language import CJK

WORDS = re.compile(rf"[{CJK}]+|[^\W{CJK}]+")
HAN = re.compile(f"[{CJK}]")
LEAST_ROWS = 10  # of train with a word
SHOWN = 20  # words
REMOVED_ROWS = 50  # from which each of them is removed
MOST_TRAIN_ROWS = 200_000  # that are read
TIES = ["word", "label", "rows", "share", "low", "high", "base", "pmi", "z"]
LEANS = ["removed_from", "fall", "fall_low", "fall_high"]


def words_of(text: str) -> Iterator[str]:
    """The words of a text in small letters; of Chinese, each two characters that follow each other."""
    for part in WORDS.findall(text.lower()):
        if HAN.match(part):
            yield from (a + b for a, b in pairwise(part))
        else:
            yield part


def tied_words(rows: Iterable[tuple[set[str], list[str]]], level: float) -> pd.DataFrame:
    """The words that occur with a label more often than chance explains, those with the clearest ties first.

    Args:
        rows: Words and labels of each row of train.
        level: The chance that one of the words is listed without a tie (Bonferroni over all words and labels).

    Returns:
        A row for each word and label. ``share`` is the share of rows with the word that have the label, with Wilson's interval;
        ``base`` that among all rows; ``pmi`` the pointwise mutual information in bits with half a row added to each count;
        ``z`` the number of rows beyond what chance expects, in standard deviations (Haberman, 1973).
    """
    count, labels, words, both = 0, Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for own, held in rows:
        count += 1
        labels.update(held)
        words.update(own)
        both.update((word, label) for word in own for label in held)
    common = {word: n for word, n in words.items() if n >= LEAST_ROWS}
    least = NormalDist().inv_cdf(1 - level / (2 * max(1, len(common) * len(labels))))
    found = []
    for (word, label), n in both.items():
        if word in common and (z := _residual(n, common[word], labels[label], count)) > least:
            ends = map(float, wilson(n / common[word], common[word], level))
            pmi = math.log2((n + 0.5) * (count + 1) / ((common[word] + 1) * (labels[label] + 0.5)))
            found.append((word, label, common[word], n / common[word], *ends, labels[label] / count, pmi, z))
    return pd.DataFrame(found, columns=TIES).sort_values("z", ascending=False, ignore_index=True)


def _residual(both: int, word: int, label: int, count: int) -> float:
    """How many rows with both a word and a label there are beyond those expected, in standard deviations."""
    expected = word * label / count
    variance = expected * (1 - word / count) * (1 - label / count)
    return (both - expected) / math.sqrt(variance) if variance > 0 else 0.0


def train_words(subject: Subject) -> Iterator[tuple[set[str], list[str]]]:
    """Words and labels of the rows of train."""
    columns = list(subject.data.input_columns().values())
    for row in islice(subject.data.rows["train"], MOST_TRAIN_ROWS):
        answer = subject.data.reference(row)
        own = {word for column in columns for text in texts_in(row[column]) for word in words_of(text)}
        yield own, answer if isinstance(answer, list) else [answer]


def removals(subject: Subject, words: Iterable[str], seed: int) -> list[Pair]:
    """Rows of the split from which one of some words is removed.

    Args:
        subject: The run.
        words: The words.
        seed: Seed of the choice of rows.
    """
    wanted = dict.fromkeys(words, REMOVED_ROWS)
    found = list[Pair]()
    for _, cluster, row in islice(subject.shuffled(seed), MOST_TRAIN_ROWS):
        own = {word for text in texts_in(row) for word in words_of(text)}
        for word in sorted(own & wanted.keys()):
            made = variant(row, _remover(word))
            if made is not None and subject.accepts(made.row):
                found.append(Pair(word, cluster, "", "", row, made.row, made.shown))
                wanted[word] -= 1
        wanted = {word: left for word, left in wanted.items() if left}
        if not wanted:
            break
    return found


def _remover(word: str) -> Any:
    bounds = ("", "") if HAN.match(word) else (r"(?<!\w)", r"(?!\w)")
    pattern = re.compile(rf"{bounds[0]}{re.escape(word)}{bounds[1]}\s?", re.IGNORECASE)
    return lambda text: [Edit(match.start(), match.end(), "") for match in pattern.finditer(text)]


def with_leaning(ties: pd.DataFrame, frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """Add to tied words by how much the score of their label falls when the word is removed, with an interval.

    Args:
        ties: The words, from `tied_words`.
        frame: The pairs of `removals`, from `compared`.
        level: The chance that one of the intervals is wrong (Bonferroni).
    """
    found = []
    for word, label in zip(ties["word"], ties["label"], strict=True):
        some = frame[frame["source"] == word]
        falls = [-scores[label] for scores in some["scores"]]
        one = mean(falls, some["cluster"].tolist(), level / max(1, len(ties)))
        found.append((one.count, one.value, *((one.low, one.high) if one.count >= LEAST_TEXTS else UNKNOWN)))
    return ties[TIES].join(pd.DataFrame(found, columns=LEANS, index=ties.index))
