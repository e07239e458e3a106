"""What a task says about its data: the methods that a new data module defines."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ftlit.data.batches.collate import PADDING
from ftlit.data.replay.mixture import Replay
from ftlit.data.rows.class_labels import unify_class_labels
from ftlit.data.rows.rows import text_problem
from ftlit.util.arguments.checked import CheckedArguments

if TYPE_CHECKING:
    from datasets import Dataset

    from ftlit.data.sources.formats import Reader


class TaskHooks(metaclass=CheckedArguments):
    """Methods that describe, check, change and encode the rows of a task; those that are not abstract have a default."""

    config_key: ClassVar[str] = "data"
    readers: Mapping[str, "Reader"] = {}  # of local files by their ending, where the usual reader does not fit
    label_dtype: ClassVar[torch.dtype] = torch.long
    padding: ClassVar[dict[str, int]] = PADDING  # padding values of the columns with one number a token, except input_ids
    metadata: ClassVar[tuple[str, ...]] = ()  # feature columns that are passed to the task unchanged
    default_max_length: ClassVar[int] = 512
    group: str | None = None  # column that is the same in rows of one document
    replay: Replay | None = None  # rows of an earlier run that are added
    test_share: float | None = None  # share of train that becomes test

    # Columns

    @abstractmethod
    def input_columns(self) -> dict[str, str]:
        """The columns that new rows need, by the config keys that select them, such as ``{"text": "sentence"}``."""

    @abstractmethod
    def columns(self) -> dict[str, str]:
        """The input columns and those of the right answers."""

    def optional_columns(self) -> dict[str, str]:
        """Further input columns, by their config keys, which a data set may lack."""
        return {}

    def row_from_text(self, text: str) -> dict[str, Any] | None:
        """A new row with a plain text as its only input, or None if the task needs more than one text."""
        columns = list(self.input_columns().values())
        return {columns[0]: text} if len(columns) == 1 else None

    def input_schema(self) -> dict[str, dict[str, Any]]:
        """The JSON schema of each input column of a new row, for those who send rows to a server; by default, a text."""
        return {column: {"type": "string"} for column in (self.input_columns() | self.optional_columns()).values()}

    # Checks

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        """What is wrong with the inputs of a row, or None; by default every input column must hold a text."""
        return next((found for column in self.input_columns().values() if (found := text_problem(row, column))), None)

    @abstractmethod
    def validate_row(self, row: dict[str, Any]) -> str | None:
        """What is wrong with a row that has its right answer, or None."""

    def validate_held_out_row(self, row: dict[str, Any]) -> str | None:
        """What is wrong with a row of validation or test, or None; by default what would be wrong with one of train."""
        return self.validate_row(row)

    def check_splits(self, splits: dict[str, "Dataset"]) -> None:
        """Raise a `UserError` if the task cannot be trained or evaluated on these splits."""

    # Changes

    def prepare_splits(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        """The splits of the source as the task reads them, before any row is checked."""
        return unify_class_labels(splits, self.columns().values())

    def with_named_answers(self, rows: "Dataset") -> "Dataset":
        """The rows with right answers that mean the same in other data of this kind, where these hold numbers for labels."""
        return rows

    def augment_train(self, train: "Dataset") -> "Dataset":
        """The training rows after augmentation, label noise and rebalancing."""
        return train

    # Features

    @abstractmethod
    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Features of new rows: ``input_ids``, other model inputs of the same lengths, and ``truncated``.

        If a row may become several features, the column ``row`` holds the position of each feature's row.
        """

    @abstractmethod
    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Features of rows with ``labels``, and ``loss_weights`` if examples have different weights in the loss."""

    # Descriptions

    def joined_texts(self, rows: "Dataset") -> list[str]:
        """The whole text of each row, in which duplicates are searched; by default all input columns."""
        columns = [rows[column][:] for column in self.input_columns().values()]
        return ["\n".join(texts) for texts in zip(*columns, strict=True)]

    def classes(self, rows: "Dataset") -> list[Any] | None:
        """The class of each row for stratified sampling, or None if the rows have no classes."""
        return None

    def balance(self, rows: "Dataset") -> dict[str, int] | None:
        """Number of rows with each label, most frequent first, or None if the rows have no labels."""
        return None

    def majority(self, rows: "Dataset") -> dict[str, Any] | None:
        """The commonest ``answer`` of a split and the ``share`` of rows for which it is right, or None if that says nothing.

        A number has the mean as ``answer``, and its mean squared error as ``mse``.
        """
        return None

    def shares(self, split: str) -> dict[str, float]:
        """Findings about an encoded split for the report that are shares, such as that of masked tokens."""
        return {}

    def warnings(self, split: str, shares: dict[str, float]) -> list[str]:
        """What the report warns of in an encoded split, as sentences, given its `shares`."""
        return []

    @abstractmethod
    def reference(self, row: dict[str, Any]) -> Any:
        """The right answer of a row, in the form of a prediction."""

    def record(self, row: dict[str, Any]) -> dict[str, Any]:
        """What is written beside the prediction of a row: its id, its inputs and, as ``label``, the right answer."""
        inputs = {column: row[column] for column in self.input_columns().values() if column in row}
        return {"id": row["row_id"], **inputs, "label": self.reference(row)}
