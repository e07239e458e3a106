"""The examples of a split by class and by length, and those on which arms disagree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftlit.metrics.evidence import EVIDENCE_KINDS
from ftlit.metrics.evidence.rows import Rows, input_text


@dataclass(frozen=True)
class BlockExamples:
    """The examples of a split, and which arms are right on them.

    Args:
        texts: The input of each example as one text.
        labels: The right answers.
        right: Share of each arm's seeds that are right, ``(arms, examples)``; None if predictions are not right or wrong.
        arms: The arms by level, in the order of `right`.
        confusions: How often each arm predicted a class where another or the same was right, summed over its seeds; empty if
            the right answers are not classes.
    """

    texts: list[str]
    labels: list[Any]
    right: np.ndarray | None
    arms: list[str]
    confusions: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    def shares(self, arms: Sequence[str]) -> np.ndarray:
        """Share of the seeds that are right, ``(arms, examples)``, for some of the arms."""
        return np.zeros((0, len(self.texts))) if self.right is None else self.right[[self.arms.index(arm) for arm in arms]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of characters of each input, ``(examples,)``."""
        return np.array([len(text) for text in self.texts])


def block_examples(kind: str, by_arm: Mapping[str, Mapping[int, Rows]]) -> BlockExamples:
    """The examples of predictions that are aligned already.

    Args:
        kind: Kind of evidence of the predictions.
        by_arm: The predictions of each arm by seed.
    """
    first = next(iter(next(iter(by_arm.values())).values()))
    right = None
    if is_right := EVIDENCE_KINDS[kind].is_right:
        shares = [np.mean([[is_right(row) for row in rows] for rows in runs.values()], axis=0) for runs in by_arm.values()]
        right = np.array(shares)
    labels = [row.get("label") for row in first]
    confusions = {arm: _confusion(runs) for arm, runs in by_arm.items()} if is_right and _are_classes(labels) else {}
    return BlockExamples([input_text(row) for row in first], labels, right, list(by_arm), confusions)


def _are_classes(labels: Sequence[Any]) -> bool:
    """Whether right answers are classes: texts that occur three times on average."""
    return all(isinstance(label, str) for label in labels) and 1 < len(set(labels)) <= len(labels) / 3


def _confusion(runs: Mapping[int, Rows]) -> Counter[tuple[str, str]]:
    return Counter((row["label"], str(row["prediction"])) for rows in runs.values() for row in rows)


def thirds(examples: BlockExamples) -> dict[str, np.ndarray]:
    """The examples in three parts of about equal size, by length of the input; empty if the lengths hardly differ."""
    lengths = examples.lengths
    if not len(lengths) or not lengths.max():
        return {}
    low, high = (int(end) for end in np.quantile(lengths, [1 / 3, 2 / 3]))
    parts = {
        f"≤ {low}": np.flatnonzero(lengths <= low),
        f"{low + 1} to {high}": np.flatnonzero((lengths > low) & (lengths <= high)),
        f"> {high}": np.flatnonzero(lengths > high),
    }
    return parts if all(len(part) for part in parts.values()) else {}


def by_label(examples: BlockExamples, limit: int) -> dict[str, np.ndarray]:
    """The examples of each class, most frequent classes first; empty if the right answers are not classes."""
    if not _are_classes(examples.labels):
        return {}
    names, places, counts = np.unique(np.array(examples.labels), return_inverse=True, return_counts=True)
    return {str(names[i]): np.flatnonzero(places == i) for i in np.argsort(-counts, kind="stable")[:limit]}


def disputed(examples: BlockExamples, arms: Sequence[str], limit: int) -> list[int]:
    """The examples on which the shares of right seeds differ most between arms, most disputed first."""
    if examples.right is None or len(arms) < 2:
        return []
    spread = examples.shares(arms).var(axis=0)
    return [int(i) for i in np.argsort(-spread, kind="stable")[:limit] if spread[i] > 0]
