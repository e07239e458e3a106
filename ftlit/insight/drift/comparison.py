"""The tests and counts that compare two samples of rows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, TypeVar

import numpy as np

from ftlit.data.text.lengths import unknown_id
from ftlit.insight.drift.embeddings import KERNEL_ROWS, explained_share, nearest, principal_components, separability
from ftlit.insight.drift.permutation import ShiftTest, Statistic, distribution_distance, mix_distance, shift_test
from ftlit.insight.drift.samples import Sample
from ftlit.insight.drift.texts import Term, log_odds, mix

T = TypeVar("T")
Kind = Literal["classifier", "mmd"]
# The smallest effects that count.
DISTRIBUTION, MIX, WORDS, UNKNOWN, AUC, EXPLAINED = 0.1, 0.1, 0.05, 0.02, 0.6, 0.01
DISTANCE, SHARES, SHARE = "largest distance of the distributions", "share that has moved", "difference of the shares"
TERMS, FARTHEST = 15, 15  # rows of tables


@dataclass(frozen=True)
class Pair:
    """The two samples, and rows of train that belong to neither.

    Args:
        known: Rows of train.
        reference: Rows of the reference.
        new: The new rows.
        seed: Seed of the tests.
    """

    known: Sample
    reference: Sample
    new: Sample
    seed: int

    def both(self, of: Callable[[Sample], list[T]]) -> list[T]:
        """What a function gives for the rows of the reference, followed by what it gives for the new ones."""
        return [*of(self.reference), *of(self.new)]

    @cached_property
    def points(self) -> np.ndarray:
        """The first principal components of the states of both samples, ``(rows, width)``."""
        return principal_components(np.concatenate([self.reference.states, self.new.states]))

    def test(self, name: str, measure: str, least: float, statistic: Statistic) -> ShiftTest:
        """Test a statistic of the rows of both samples."""
        return shift_test(name, measure, least, statistic, len(self.reference), len(self.new), self.seed)


# Texts


def text_tests(pair: Pair, tokenizer: Any) -> list[ShiftTest]:
    """The tests of lengths, words, scripts and unknown tokens."""
    words, tokens = _lengths(pair.both(_words)), _lengths(pair.both(_tokens))
    tests = [
        pair.test("length in words", DISTANCE, DISTRIBUTION, distribution_distance(words)),
        pair.test("length in tokens", DISTANCE, DISTRIBUTION, distribution_distance(tokens)),
        pair.test("words that train lacks", SHARE, WORDS, mix_distance(_two_kinds(pair.both(_unseen(pair.known)), words))),
        pair.test("scripts", SHARES, WORDS, mix_distance(mix(pair.both(lambda sample: sample.scripts))[1])),
    ]
    if (unknown := unknown_id(tokenizer)) is not None:
        hits = [row.count(unknown) for row in pair.both(_tokens)]
        tests.append(pair.test("unknown tokens", SHARE, UNKNOWN, mix_distance(_two_kinds(hits, tokens))))
    return tests


def _words(sample: Sample) -> list[list[str]]:
    return sample.words


def _tokens(sample: Sample) -> list[list[int]]:
    return sample.tokens


def _lengths(rows: list[list[Any]]) -> np.ndarray:
    return np.array([len(row) for row in rows])


def _unseen(known: Sample) -> Callable[[Sample], list[int]]:
    """A function that counts the words of each row that known rows lack."""
    seen = set(chain(*known.words))
    return lambda sample: [sum(word not in seen for word in row) for row in sample.words]


def _two_kinds(hits: list[int], totals: np.ndarray) -> np.ndarray:
    """Counts of what is and what is not, ``(rows, 2)``."""
    return np.stack([np.array(hits), totals - np.array(hits)], 1)


@dataclass(frozen=True)
class Measured:
    """A number that describes both samples."""

    name: str
    reference: float
    new: float


def summary(pair: Pair, tokenizer: Any) -> list[Measured]:
    """Lengths and shares of both samples."""
    unknown = unknown_id(tokenizer)
    unseen = _unseen(pair.known)
    measures: dict[str, Callable[[Sample], float]] = {
        "words, median": lambda sample: float(np.median([len(row) for row in sample.words])),
        "words, 95th percentile": lambda sample: float(np.percentile([len(row) for row in sample.words], 95)),
        "tokens, median": lambda sample: float(np.median([len(row) for row in sample.tokens])),
        "tokens, 95th percentile": lambda sample: float(np.percentile([len(row) for row in sample.tokens], 95)),
        "rows that are truncated": lambda sample: sample.truncated,
        "words that train lacks": lambda sample: _share(unseen(sample), sample.words),
    }
    if unknown is not None:
        measures["unknown tokens"] = lambda sample: _share([row.count(unknown) for row in sample.tokens], sample.tokens)
    return [Measured(name, of(pair.reference), of(pair.new)) for name, of in measures.items()]


def _share(hits: list[int], rows: list[list[Any]]) -> float:
    return sum(hits) / max(sum(map(len, rows)), 1)


def script_shares(pair: Pair) -> list[Measured]:
    """The share of each script among the letters of both samples, most frequent first."""
    counts = [sum(sample.scripts, Counter[str]()) for sample in (pair.reference, pair.new)]
    totals = [max(count.total(), 1) for count in counts]
    every = counts[0] + counts[1]
    return [Measured(name, *(c[name] / n for c, n in zip(counts, totals, strict=True))) for name, _ in every.most_common()]


def vocabulary(pair: Pair, tokenizer: Any) -> dict[str, tuple[list[Term], list[Term]]]:
    """The words and tokens that are most over- and under-represented in the new rows."""
    special = set(tokenizer.all_special_ids) - {unknown_id(tokenizer)}
    found: dict[str, list[Counter[str]]] = {"words": [], "tokens": []}
    for sample in (pair.reference, pair.new):
        ids = Counter(i for i in chain(*sample.tokens) if i not in special)
        found["words"].append(Counter(chain(*sample.words)))
        found["tokens"].append(Counter({str(tokenizer.convert_ids_to_tokens(i)): n for i, n in ids.items()}))
    return {kind: log_odds(reference, new, TERMS) for kind, (reference, new) in found.items()}


# States


def embedding_test(pair: Pair, kind: Kind) -> ShiftTest:
    """The test of the pooled states."""
    if kind == "classifier":
        return pair.test("embeddings", "AUC of a classifier", AUC, separability(pair.points, pair.seed))
    rng, first = np.random.default_rng(pair.seed), len(pair.reference)
    old, new = (rng.permutation(len(sample))[:KERNEL_ROWS] for sample in (pair.reference, pair.new))
    statistic = explained_share(pair.points[np.concatenate([old, first + new])])
    name = "share of the spread explained (MMD)"
    return shift_test("embeddings", name, EXPLAINED, statistic, len(old), len(new), pair.seed)


@dataclass(frozen=True)
class Far:
    """A new row that is unlike all rows of train.

    Args:
        text: Its text.
        distance: Distance to the nearest row of train, in standard deviations.
        nearest: The text of that row.
    """

    text: str
    distance: float
    nearest: str


@dataclass(frozen=True)
class Distances:
    """How far rows are from the nearest row of train.

    Args:
        reference: Distances of the reference, ``(rows,)``.
        new: Distances of the new rows, ``(rows,)``.
        farthest: The farthest of the new rows.
    """

    reference: np.ndarray
    new: np.ndarray
    farthest: list[Far]

    @property
    def share(self) -> float:
        """Share of the new rows that are farther than 95% of the reference."""
        return float((self.new > np.quantile(self.reference, 0.95)).mean())


def distances(pair: Pair) -> Distances:
    """The distance of each row to the nearest row of train."""
    reference, _ = nearest(pair.reference.states, pair.known.states)
    new, places = nearest(pair.new.states, pair.known.states)
    order = np.argsort(-new, kind="stable")[:FARTHEST]
    farthest = [Far(pair.new.texts[i], float(new[i]), pair.known.texts[places[i]]) for i in order]
    return Distances(reference, new, farthest)
