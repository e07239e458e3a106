"""The probabilities in predictions as arrays, with what was right: of rows, of the labels of rows, of words and of entities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ftlit.metrics.evidence.labels import is_right, members
from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.words import right_tags

SMALLEST = 1e-38  # probability, in single precision: its logarithm is finite


class Stated(NamedTuple):
    """Probabilities that a model stated, and what came true.

    Attributes:
        probability: Probability of each event, ``(events,)``.
        true: Whether it came true, ``(events,)``.
        owner: Number of the row to which it belongs, ``(events,)``.
    """

    probability: np.ndarray
    true: np.ndarray
    owner: np.ndarray


@dataclass(frozen=True)
class Probabilities:
    """The probabilities of all classes.

    Attributes:
        values: The probabilities, ``(units, classes)``; those of several labels a row are independent of each other, others
            add up to 1. A class that a unit does not have, such as the fifth choice of four, has 0.
        true: Whether the class is right, ``(units, classes)``.
        owner: Number of each unit's row, ``(units,)``.
        several: Whether a unit may have several right classes.
        names: Names of the classes; None for choices, which have none.
    """

    values: np.ndarray
    true: np.ndarray
    owner: np.ndarray
    several: bool
    names: Sequence[str] | None

    @cached_property
    def brier(self) -> np.ndarray:
        """The squared error of each unit, ``(units,)``: summed over its classes, or their mean if it may have several."""
        squares = (self.values - self.true) ** 2
        return squares.mean(1) if self.several else squares.sum(1)

    @cached_property
    def nll(self) -> np.ndarray:
        """The negative log likelihood of each unit, ``(units,)``, or its mean over classes if a unit may have several."""
        said = np.where(self.true, self.values, 1 - self.values) if self.several else self.right
        logs = -np.log(np.maximum(said, SMALLEST))
        return logs.mean(1) if self.several else logs

    @property
    def right(self) -> np.ndarray:
        """The probability of the right class of each unit, which has one, ``(units,)``."""
        found: np.ndarray = (self.values * self.true).sum(1)
        return found

    def with_values(self, values: np.ndarray) -> "Probabilities":
        """The same with other probabilities."""
        return Probabilities(values, self.true, self.owner, self.several, self.names)


@dataclass(frozen=True)
class Decisions:
    """What a model decided, and how sure it was.

    Attributes:
        of: What is decided: `rows`, `labels` (whether a row has a label), `words` or `entities`.
        stated: The decisions with their probabilities. For `labels`, the event is that the row has the label.
        answers: What is answered or left unanswered as a whole: the decisions, or for `labels` the rows with the least
            certain decision about their labels.
        whole: The probabilities of all classes, where they are known.
    """

    of: str
    stated: Stated
    answers: Stated
    whole: Probabilities | None = None


def decisions(kind: str | None, rows: Rows) -> list[Decisions]:
    """The decisions in predictions, of one sort or of several; none if predictions have no probabilities.

    Args:
        kind: Kind of evidence, as the run record names it.
        rows: Predictions with their labels.
    """
    if not rows or kind not in ("labels", "relations", "choices", "tags"):
        return []
    whole = probabilities(kind, rows)
    if kind == "tags":
        return _of_words(rows, whole)
    if whole is not None and whole.several:
        return [_of_labels(rows, whole)]
    if "score" not in rows[0] or isinstance(rows[0]["score"], list):
        return []
    stated = Stated(*_columns((row["score"], is_right(row)) for row in rows), np.arange(len(rows)))
    return [Decisions("rows", stated, stated, whole)]


def _columns(pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, right = zip(*pairs, strict=True)
    return np.array(scores, dtype=float), np.array(right, dtype=bool)


def _of_labels(rows: Rows, whole: Probabilities) -> Decisions:
    assert whole.names is not None
    count, labels = whole.values.shape
    said = members([rows], "prediction", whole.names)[0]
    least = decided(whole.values, said).min(1)
    right = (said == whole.true).all(1)
    stated = Stated(whole.values.ravel(), whole.true.ravel(), np.repeat(whole.owner, labels))
    return Decisions("labels", stated, Stated(least, right, np.arange(count)), whole)


def decided(values: np.ndarray, said: np.ndarray) -> np.ndarray:
    """The probability that each decision about a label is right.

    Args:
        values: Probability of each label, ``(rows, labels)``.
        said: Whether the label was predicted, ``(rows, labels)``.
    """
    return np.where(said, values, 1 - values)


def _of_words(rows: Rows, whole: Probabilities | None) -> list[Decisions]:
    found = []
    spans = "tags" in rows[0]
    if whole is not None:
        best = whole.values.argmax(1)
        stated = Stated(whole.values.max(1), whole.true[np.arange(len(best)), best], whole.owner)
        found.append(Decisions("words", stated, stated, whole))
    elif not spans:
        pairs = ((p, a == b) for row in rows for p, a, b in zip(row["score"], row["prediction"], row["label"], strict=True))
        stated = Stated(*_columns(pairs), _owners(rows, "score"))
        found.append(Decisions("words", stated, stated))
    if spans and any(row["prediction"] for row in rows):
        true = [{_place(entity) for entity in row["label"]} for row in rows]
        pairs = ((one["score"], _place(one) in true[i]) for i, row in enumerate(rows) for one in row["prediction"])
        stated = Stated(*_columns(pairs), _owners(rows, "prediction"))
        found.append(Decisions("entities", stated, stated))
    return found


def _place(entity: Mapping[str, Any]) -> tuple[Any, ...]:
    return entity["label"], entity["start"], entity["end"]


def _owners(rows: Rows, key: str) -> np.ndarray:
    return np.repeat(np.arange(len(rows)), [len(row[key]) for row in rows])


# The probabilities of all classes


def probabilities(kind: str, rows: Rows) -> Probabilities | None:
    """The probabilities of all classes; None if the predictions do not have all of them."""
    scores = rows[0].get("scores")
    if kind == "choices" and isinstance(scores, list):
        return _of_choices(rows)
    if not isinstance(scores, dict) or not scores or any(row["scores"].keys() != scores.keys() for row in rows):
        return None  # of many labels, only the highest scores were written
    if kind == "tags":
        return _of_tags(rows, list(scores))
    names, several = list(scores), isinstance(rows[0]["label"], list)
    values = np.array([[*row["scores"].values()] for row in rows], dtype=float)
    return Probabilities(values, members([rows], "label", names)[0], np.arange(len(rows)), several, names)


def _of_tags(rows: Rows, names: list[str]) -> Probabilities:
    places = {name: i for i, name in enumerate(names)}
    right = [right_tags(row) if "tags" in row else row["label"] for row in rows]
    values = np.concatenate(
        [np.array([row["scores"][name] for name in names], dtype=float).reshape(len(names), -1).T for row in rows]
    )
    true = np.zeros(values.shape, dtype=bool)
    true[np.arange(len(values)), [places[tag] for tag in chain.from_iterable(right)]] = True
    return Probabilities(values, true, np.repeat(np.arange(len(rows)), [len(tags) for tags in right]), False, names)


def _of_choices(rows: Rows) -> Probabilities:
    values = padded([row["scores"] for row in rows])
    true = np.zeros(values.shape, dtype=bool)
    true[np.arange(len(rows)), [_right_choice(row) for row in rows]] = True
    return Probabilities(values, true, np.arange(len(rows)), False, None)


def padded(lists: Sequence[Sequence[float]]) -> np.ndarray:
    """Lists of numbers as one array, ``(lists, longest)``, with 0 after the shorter ones."""
    lengths = np.array([len(numbers) for numbers in lists])
    found = np.zeros((len(lists), lengths.max(initial=0)))
    found[np.arange(found.shape[1]) < lengths[:, None]] = [*chain.from_iterable(lists)]
    return found


def _right_choice(row: Mapping[str, Any]) -> int:
    """Position of the right choice, whose text is the label. The choices are the last inputs of the row."""
    if row["prediction"] == row["label"]:
        return int(row["index"])
    given = [*row.values()][1 : [*row].index("label")]
    last = given[-1]["text"] if isinstance(given[-1], dict) else given[-1]
    texts = last if isinstance(last, list) else given[-len(row["scores"]) :]
    return texts.index(row["label"])
