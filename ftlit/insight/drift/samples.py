"""The rows that are compared, and what the run makes of them."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from ftlit.data.rows.columns import every_row
from ftlit.data.shared.base import TaskData
from ftlit.data.shared.labelled import LabelledData
from ftlit.errors import UserError
from ftlit.exports.predict import read_input
from ftlit.exports.predicting.predictor import Encoded, Predictor
from ftlit.exports.predicting.sizes import default_sizes
from ftlit.insight.drift.texts import scripts, words
from ftlit.insight.states import pooled_states

T = TypeVar("T")
Row = dict[str, Any]
LEAST_ROWS = 20  # below which nothing can be said


@dataclass(frozen=True)
class Sample:
    """Rows of one origin.

    Args:
        rows: The rows.
        texts: The whole text of each.
        encoded: Their features.
        states: Their pooled states, ``(rows, width)``.
        total: Number of rows that they were drawn from.
    """

    rows: list[Row]
    texts: list[str]
    encoded: Encoded
    states: np.ndarray
    total: int

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def words(self) -> list[list[str]]:
        """The words of each row."""
        return [words(text) for text in self.texts]

    @cached_property
    def scripts(self) -> list[Counter[str]]:
        """Number of letters of each script in each row."""
        return [scripts(text) for text in self.texts]

    @cached_property
    def tokens(self) -> list[list[int]]:
        """Ids of the tokens of each row, as the model reads them; those of its choices or windows one after the other."""
        found: list[list[int]] = [[] for _ in self.rows]
        for row, ids in zip(self.encoded.columns["row"], self.encoded.columns["input_ids"], strict=True):
            found[row] += chain(*ids) if len(ids) and isinstance(ids[0], list) else ids
        return found

    @property
    def truncated(self) -> float:
        """Share of the rows that are longer than the model reads."""
        columns = self.encoded.columns
        return len({row for row, cut in zip(columns["row"], columns["truncated"], strict=True) if cut}) / len(self)


def read_sample(predictor: Predictor, rows: list[Row], total: int) -> Sample:
    """Encode rows and compute their states.

    Args:
        predictor: The run.
        rows: The rows.
        total: Number of rows that they were drawn from.
    """
    encoded = predictor.encode(rows, default_sizes(predictor.device, generates=False))
    return Sample(rows, joined_texts(predictor.data, rows), encoded, pooled_states(predictor, encoded), total)


def joined_texts(data: TaskData, rows: list[Row]) -> list[str]:
    """The whole text of each row."""
    from datasets import Dataset

    names = (data.input_columns() | data.optional_columns()).values()
    return data.joined_texts(Dataset.from_dict({name: [row.get(name) for row in rows] for name in names}))


def split_rows(data: TaskData, split: str, limit: int, seed: int) -> tuple[list[Row], int]:
    """At most `limit` random rows of a split in random order, and the number of all of its rows.

    Raises:
        UserError: The data set has no such split, or too few rows.
    """
    data.require([split])
    rows = data.rows[split]
    if len(rows) < LEAST_ROWS:
        raise UserError(
            f"{split} of the run has {len(rows)} rows, and a comparison needs at least {LEAST_ROWS}; choose another --reference"
        )
    chosen = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return [{"id": row["row_id"], **row} for row in every_row(rows.select(chosen))], len(rows)


def new_rows(predictor: Predictor, input: str, limit: int, seed: int) -> tuple[list[Row], int]:
    """At most `limit` random rows of a file, and the number of all of its rows. Rows that are not drawn are not checked.

    Raises:
        UserError: The file cannot be read, has too few rows, or a row does not fit the run.
    """
    kept, total = drawn(read_input(input, predictor.data.readers), limit, seed)
    if total < LEAST_ROWS:
        raise UserError(f"--input {input!r} has {total} rows; a comparison needs at least {LEAST_ROWS}")
    return [predictor.located_row(number, place, row) for number, (place, row) in kept], total


def drawn(items: Iterable[T], count: int, seed: int) -> tuple[list[tuple[int, T]], int]:
    """At most `count` random items with their positions, in order, and the number of all; one item is held after the other.

    Every item has the same chance (algorithm R; Vitter, 1985).
    """
    rng, kept, total = random.Random(seed), list[tuple[int, T]](), 0
    for number, item in enumerate(items):
        total += 1
        if len(kept) < count:
            kept.append((number, item))
        elif (place := rng.randrange(total)) < count:
            kept[place] = (number, item)
    return sorted(kept, key=lambda one: one[0]), total


def record(data: TaskData, row: Row) -> Row:
    """What predictions of the run hold of a row: its id, its inputs, and its right answer as ``label``."""
    return data.record({**row, "row_id": row["id"]})


def labelled(data: TaskData, rows: list[Row]) -> tuple[list[Row], str]:
    """The `record` of each row, or none and the reason as a sentence, which is empty for tasks without answers."""
    inputs = data.input_columns().values()
    wanted = [column for column in data.columns().values() if column not in inputs]
    if not wanted:
        return [], ""
    for row in rows:
        if missing := [column for column in wanted if column not in row]:
            return [], f"The new rows have no right answers: there is no column {missing[0]!r}."
        if problem := _problem(data, row):
            return [], f"The right answers of the new rows are not used, since one does not fit the run: {problem}."
    return [record(data, row) for row in rows], ""


def _problem(data: TaskData, row: Row) -> str | None:
    if (found := data.validate_row(row)) or not isinstance(data, LabelledData):
        return found
    unknown = [name for name in data.as_names(row[data.label]) if name not in data.label_ids]
    return f"the label {unknown[0]!r} is none of the run's" if unknown else None
