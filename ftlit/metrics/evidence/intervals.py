"""95% intervals of the metrics of one run, by the bootstrap over its examples, and a baseline that reads no example."""

from collections.abc import Callable, Iterator, Mapping
from math import isclose, isfinite
from typing import Any, NamedTuple

import numpy as np

from ftlit.metrics.evidence.kinds import EVIDENCE_KINDS
from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import Score, Sums

DRAWS, LEVEL, SEED = 1000, 0.05, 0
MAX_BLOCK_SIZE = 4_000_000  # numbers in a block of weights (32 MB)
SPARSE = 0.05  # share of numbers other than 0 up to which only these are added, as where labels are many
RESULT_TOLERANCE = 1e-3  # results are logged in single precision


def metric_intervals(
    kind: str | None, results: Mapping[str, float], rows: Rows, settings: Mapping[str, Any]
) -> dict[str, list[float]]:
    """The lower and the upper end of the 95% interval of each metric that can be computed from predictions.

    Examples are drawn with replacement (Efron, 1979), or whole documents if the rows name theirs in ``group``. The interval is
    about this trained model on new examples, not about new seeds. If all predictions are right, or all wrong, resamples do not
    differ; the interval of a share is then that of Clopper and Pearson (1934), and other metrics have none.

    Args:
        kind: Kind of evidence, as the run record names it (see `EVIDENCE_KINDS`).
        results: The metrics of a split.
        rows: The predictions of the split.
        settings: The task's ``init_args``, of which `METRIC_SETTINGS` decide what metrics count.
    """
    groups, count = documents(rows)
    counted = {
        name: Resampled(sums.score, sums.is_share, weighted_sums(sums.counts[0], groups, count))
        for name, sums in _counted(kind, results, rows, settings)
        if _agrees(sums, results[name])
    }
    if count < 2 or not counted:
        return {}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in counted}
    for weights in resamples(count):
        for name, metric in counted.items():
            drawn[name].append(np.asarray(metric.score(metric.sums(weights))))
    ends = {name: _ends(np.concatenate(drawn[name]), metric.is_share, count) for name, metric in counted.items()}
    return {name: found for name, found in ends.items() if found is not None}


def baseline_scores(
    kind: str | None, results: Mapping[str, float], rows: Rows, settings: Mapping[str, Any], answer: Any
) -> dict[str, float]:
    """The metrics of a baseline that gives the same answer to every example, such as the most frequent label of train.

    Args:
        kind: Kind of evidence, as the run record names it.
        results: The metrics of a split.
        rows: The predictions of the split.
        settings: The task's ``init_args``.
        answer: The answer of the baseline; None if the task has no such baseline.
    """
    if answer is None:
        return {}
    answered = [_answered(row, answer) for row in rows]
    found = {name: float(sums.score(sums.counts[0].sum(0))) for name, sums in _counted(kind, results, answered, settings)}
    return {name: score for name, score in found.items() if isfinite(score)}


def _answered(row: dict[str, Any], answer: Any) -> dict[str, Any]:
    if "tags" in row:  # of words whose spans are the prediction; the baseline finds none
        return {**row, "tags": [answer] * len(row["tags"]), "prediction": []}
    several = isinstance(row["prediction"], list) and not isinstance(answer, list)
    return {**row, "prediction": [answer] * len(row["prediction"]) if several else answer}


def documents(rows: Rows) -> tuple[np.ndarray, int]:
    """The number of each row's document, ``(rows,)``, and how many there are; rows without ``group`` are documents."""
    named = [("row", i) if row.get("group") is None else ("group", row["group"]) for i, row in enumerate(rows)]
    places = {name: place for place, name in enumerate(dict.fromkeys(named))}
    return np.array([places[name] for name in named], dtype=int), len(places)


def resamples(groups: int, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Blocks of ``(draws, groups)``: how often each resample contains each group."""
    rng, size = np.random.default_rng(SEED), max(1, MAX_BLOCK_SIZE // groups)
    for start in range(0, draws, size):
        count = min(size, draws - start)
        drawn = rng.integers(groups, size=(count, groups)) + groups * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups).astype(float)


def _counted(
    kind: str | None, results: Mapping[str, float], rows: Rows, settings: Mapping[str, Any]
) -> Iterator[tuple[str, Sums]]:
    if kind not in EVIDENCE_KINDS or not rows:
        return
    for name in results:
        if (sums := EVIDENCE_KINDS[kind].count(name, [rows], settings)) is not None:
            yield name, sums


def _agrees(sums: Sums, value: float) -> bool:
    """Whether a result follows from the predictions; it does not if a subclass of the task defines the metric differently."""
    computed = float(sums.score(sums.counts[0].sum(0)))
    return isclose(computed, value, rel_tol=RESULT_TOLERANCE, abs_tol=RESULT_TOLERANCE)


class Resampled(NamedTuple):
    """A metric without what each example adds, which takes much memory where labels are many.

    Attributes:
        score: Computes the metric from sums.
        is_share: Whether it is a mean of numbers from 0 to 1.
        sums: The sums of resamples from their weights, ``(draws, documents)`` to ``(draws, k)``.
    """

    score: Score
    is_share: bool
    sums: Callable[[np.ndarray], np.ndarray]


def weighted_sums(counts: np.ndarray, groups: np.ndarray, number: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights of documents to sums over examples.

    Args:
        counts: What each example adds, ``(examples, k)``.
        groups: Number of the document of each example, ``(examples,)``.
        number: Number of documents.
    """
    rows, columns = np.nonzero(counts)
    if len(rows) > SPARSE * counts.size:
        totals = _per_group(counts, groups, number)
        return lambda weights: weights @ totals
    values, owners, size = counts[rows, columns], groups[rows], counts.shape[-1]
    return lambda weights: np.stack([np.bincount(columns, drawn[owners] * values, size) for drawn in weights])


def _per_group(counts: np.ndarray, groups: np.ndarray, number: int) -> np.ndarray:
    """Sums over the examples of each document, ``(documents, k)``."""
    found = np.zeros((number, counts.shape[-1]))
    np.add.at(found, groups, counts)
    return found


def _ends(scores: np.ndarray, is_share: bool, groups: int) -> list[float] | None:
    known = scores[np.isfinite(scores)]
    if len(known) < len(scores) / 2:  # such as a correlation that most resamples do not have
        return None
    low, high = (float(end) for end in np.quantile(known, [LEVEL / 2, 1 - LEVEL / 2]))
    if low < high:
        return [low, high]
    certain = (LEVEL / 2) ** (1 / groups)
    if not is_share or low not in (0.0, 1.0):
        return None
    return [certain, 1.0] if low == 1 else [0.0, 1 - certain]
