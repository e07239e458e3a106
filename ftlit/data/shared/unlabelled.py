"""Texts without labels that accompany the labelled ones, for an auxiliary loss."""

from typing import TYPE_CHECKING

import numpy as np

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.rows.columns import every_row
from ftlit.data.rows.rows import text_problem
from ftlit.data.sources.load import load_source
from ftlit.data.text.encoding import Encoder
from ftlit.errors import UserError, near

if TYPE_CHECKING:
    from datasets import Dataset


class Unlabelled:
    """Encoded texts, one of which accompanies each labelled example, a different one in every epoch.

    The choice depends on the seed, the epoch and the example only, not on the batches.

    Args:
        features: The encoded texts.
        examples: Number of labelled examples.
        seed: Seed of the order, together with the epoch.
    """

    def __init__(self, features: "Dataset", examples: int, seed: int) -> None:
        self.features, self.examples, self.seed = features, examples, seed
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Position of the text that accompanies each labelled example, ``(examples,)``."""
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch, len(self.features)])
            self._order = (epoch, np.resize(rng.permutation(len(self.features)), self.examples))
        return self._order[1]

    def positions(self, batch: MicroBatch) -> list[int]:
        """The positions of the texts that accompany the labelled examples of a training batch."""
        assert batch.epoch is not None
        return self.order(batch.epoch)[batch.indices].tolist()


def unlabelled_texts(dataset: str, column: str, encoder: Encoder) -> "Dataset":
    """The encoded texts of a data set's train split, or of its only split; empty texts are left out.

    Args:
        dataset: Name of the data set, like `data.dataset`.
        column: Column of the text.
        encoder: Encodes the texts.

    Raises:
        UserError: If the data set or the column does not exist, or has no text.
    """
    splits, _ = load_source(dataset, strict=False)
    rows = splits["train"] if "train" in splits else next(iter(splits.values()))
    if column not in rows.column_names:
        raise UserError(f"data.unlabelled_column: {dataset} has no column {column!r}. {near(column, rows.column_names)}")
    rows = rows.select_columns([column])
    kept = [i for i, row in enumerate(every_row(rows)) if text_problem(row, column) is None]
    if not kept:
        raise UserError(f"data.unlabelled: {dataset} has no text in column {column!r}")
    rows = rows.select(kept) if len(kept) < len(rows) else rows
    return encoder.encode(rows, lambda found: encoder.tokenize(found[column]), [encoder.max_length, "unlabelled", column])
