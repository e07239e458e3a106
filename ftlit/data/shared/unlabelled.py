"""Texts without labels beside the labelled ones, for an auxiliary loss."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.rows.rows import text_problem
from ftlit.data.sources.load import load_splits
from ftlit.data.text.encoding import encoded
from ftlit.errors import UserError, near

if TYPE_CHECKING:
    from datasets import Dataset


class Unlabelled:
    """Encoded texts, of which each labelled example gets another one in every epoch.

    Which one depends on the seed, the epoch and the example alone, not on the batches.

    Args:
        features: The encoded texts.
        examples: Number of labelled examples.
        seed: Decides the order with the epoch.
    """

    def __init__(self, features: "Dataset", examples: int, seed: int) -> None:
        self.features, self.examples, self.seed = features, examples, seed
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """The position of each labelled example's text, ``(examples,)``."""
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch, len(self.features)])
            self._order = (epoch, np.resize(rng.permutation(len(self.features)), self.examples))
        return self._order[1]

    def columns(self, batch: MicroBatch) -> dict[str, list[Any]]:
        """The features that go with the labelled examples of a batch of training."""
        assert batch.epoch is not None
        return self.features[self.order(batch.epoch)[batch.indices].tolist()]


def unlabelled_texts(dataset: str, column: str, encode: Callable[[list[str]], Any], settings: list[Any]) -> "Dataset":
    """The encoded texts of a data set's train split, or of its only one; empty texts are left out.

    Args:
        dataset: Like `data.dataset`.
        column: Column of the text.
        encode: From texts to columns of features.
        settings: All that `encode` depends on.

    Raises:
        UserError: There is no such data set or column, or it has no text.
    """
    splits = load_splits(dataset)
    rows = splits["train"] if "train" in splits else next(iter(splits.values()))
    if column not in rows.column_names:
        raise UserError(f"data.unlabelled_column: {dataset} has no column {column!r}. {near(column, rows.column_names)}")
    rows = rows.select_columns([column])
    kept = [i for i, row in enumerate(rows) if text_problem(row, column) is None]
    if not kept:
        raise UserError(f"data.unlabelled: {dataset} has no text in column {column!r}")
    rows = rows.select(kept) if len(kept) < len(rows) else rows
    return encoded(rows, lambda columns: encode(columns[column]), [*settings, "unlabelled", column])
