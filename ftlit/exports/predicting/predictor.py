"""A finished run that predicts for new rows, in Python."""

import sys
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from ftlit.data.batches.batching import Shuffled
from ftlit.data.shared.base import TaskData
from ftlit.data.sources.formats import describe_value
from ftlit.errors import UserError
from ftlit.exports.predicting.sizes import Sizes, default_sizes
from ftlit.exports.predicting.windows import WINDOW_ROWS, Share, Window, ahead, windows
from ftlit.metrics.calibration.applied import Calibration
from ftlit.models.embeddings import check_token_ids
from ftlit.tasks import TaskModule
from ftlit.util.machine import one_thread

NEEDS = "; this run needs "  # in the middle of an error about a row


@dataclass(frozen=True)
class Encoded:
    """Rows that are ready for the model.

    Args:
        ids: Id of each row.
        columns: Features, with the position of each feature's row as ``row``.
        batches: Positions of the features of each batch.
        done: Number of the first rows whose predictions are not asked for.
    """

    ids: list[Any]
    columns: dict[str, list[Any]]
    batches: list[np.ndarray]
    done: int = 0


class Predictor:
    """Predicts for new texts or rows with a finished run. Create one with `load`.

    Args:
        model: The task with its trained weights.
        data: Data module that encodes rows as in training.
        device: Device of the model, such as `cpu` or `cuda`.
        calibration: What changes the predictions of the model; None leaves them as they are.
    """

    def __init__(self, model: TaskModule, data: TaskData, device: str, calibration: Calibration | None = None) -> None:
        self.model, self.data, self.device, self.calibration = model.to(device).eval(), data, device, calibration
        _ = data.encoder  # a damaged tokenizer is found before an output is begun

    def uncalibrated(self) -> "Predictor":
        """Return one with the same model that gives its own scores and an answer for each row."""
        found = copy(self)
        found.calibration = None
        return found

    def __call__(
        self, rows: Iterable[str | dict[str, Any]], batch_size: int | None = None, scores: bool = False
    ) -> list[dict[str, Any]]:
        """Return a prediction for each row, in order. ``truncated`` is set if the row was longer than the model's limit.

        Args:
            rows: Texts, or rows with the columns of the run's data.
            batch_size: Number of rows per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.
            scores: Whether to include the scores of all labels.
        """
        return list(self.stream(rows, batch_size, scores))

    def stream(
        self,
        rows: Iterable[str | dict[str, Any]],
        batch_size: int | None = None,
        scores: bool = False,
        window: int = WINDOW_ROWS,
    ) -> Iterator[dict[str, Any]]:
        """Yield predictions for a stream of rows, in order, after each `window` rows."""
        if isinstance(rows, str | dict):  # its characters or keys would be taken for texts
            raise UserError(f"expected a list of texts or rows, got {describe_value(rows)}; put a single one into a list")
        located = ((f"row {number}", row) for number, row in enumerate(rows, start=1))
        return chain.from_iterable(self.located(located, batch_size, scores, window))

    def located(
        self,
        rows: Iterable[tuple[str, Any]],
        batch_size: int | None = None,
        scores: bool = False,
        window: int = WINDOW_ROWS,
        share: Share = Share(),
        read_ahead: bool = False,
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the predictions of one window of rows after the other.

        Args:
            rows: Rows with their locations, which are used in error messages.
            batch_size: Number of rows per batch, as in `__call__`.
            scores: Whether to include the scores of all labels.
            window: Number of rows that are sorted by length together.
            share: The part of the rows to predict.
            read_ahead: Whether a thread reads and encodes the next window meanwhile.
        """
        sizes = self.sizes(batch_size)
        taken = share.of(windows(rows, window))
        encoded = (self.encode(self._checked(found), sizes, done) for found, done in taken)
        for one in ahead(encoded) if read_ahead else encoded:
            yield self.answers(one, scores)[one.done :]

    @property
    def generates(self) -> bool:
        """Whether the answers are written token by token."""
        return hasattr(self.model, "generation")

    @property
    def may_read_ahead(self) -> bool:
        """Whether rows can be encoded while the model runs, which they cannot if it uses a tokenizer itself."""
        return not hasattr(type(self.model), "tokenizer")

    def sizes(self, batch_size: int | None = None) -> Sizes:
        """How rows are cut into batches: a number of rows, or by default a number of tokens that suits the device.

        Raises:
            UserError: The number is too small.
        """
        if batch_size is None:
            return default_sizes(self.device, self.generates)
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        return Shuffled(batch_size).eval_batch_sizes

    def window(self, input: str) -> int:
        """Return the number of rows to read before predicting: one if a user may wait for the answer, else `WINDOW_ROWS`."""
        waiting = input == "-" and (sys.stdin.isatty() or self.generates)
        return 1 if waiting else WINDOW_ROWS

    def _checked(self, window: Window) -> list[dict[str, Any]]:
        return [self.located_row(number, place, row) for number, place, row in window]

    def located_row(self, number: int, place: str, given: Any) -> dict[str, Any]:
        """Return a row as `row` does; an error names its place."""
        try:
            return self.row(number, given)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None

    def row(self, number: int, given: Any) -> dict[str, Any]:
        """Return a row with its id, by default its number.

        Args:
            number: Position of the row among all.
            given: A text, or the columns of a row.

        Raises:
            UserError: What is wrong with it; the sentence does not say which row it is.
        """
        row = self.data.row_from_text(given) if isinstance(given, str) else given
        if row is None and isinstance(given, str):
            raise UserError(f"expected a row, got one text{NEEDS}{self._needs()}")
        if not isinstance(row, dict):
            raise UserError(f"expected a text or an object, got {describe_value(row)}{NEEDS}{self._needs()}")
        if problem := self.data.validate_inputs(row):
            raise UserError(f"{problem}{NEEDS}{self._needs()}")
        return {"id": row.get("id", number), **row}

    def _needs(self) -> str:
        columns = [repr(column) for column in self.data.input_columns().values()]
        return f"the {'columns' if len(columns) > 1 else 'column'} {' and '.join(columns)}"

    def check_tokens(self, ids: list[list[Any]]) -> None:
        """Check that the model knows all tokens, those of each row or of each of its parts.

        Raises:
            UserError: It does not.
        """
        sequences = (part for row in ids for part in (row if len(row) and isinstance(row[0], list) else [row]))
        table: Any = self.model.backbone.get_input_embeddings()  # type: ignore[operator]
        check_token_ids(np.array([*chain(*sequences)], dtype=np.int64), table, self.data.tokenizer, self.data.backbone)

    def predictions(self, rows: list[dict[str, Any]], sizes: Sizes, scores: bool = False) -> list[dict[str, Any]]:
        """Return the predictions for rows, in order.

        Args:
            rows: Rows from `row`.
            sizes: Returns the sizes of batches for the numbers of tokens of all examples, in ascending order.
            scores: Whether to include the scores of all labels.
        """
        return self.answers(self.encode(rows, sizes), scores)

    def encode(self, rows: list[dict[str, Any]], sizes: Sizes, done: int = 0) -> Encoded:
        """Return rows as features in batches of similar lengths.

        Args:
            rows: Rows from `row`.
            sizes: As in `predictions`.
            done: Number of the first rows whose predictions are not asked for.
        """
        names = (self.data.input_columns() | self.data.optional_columns()).values()
        columns = self.data.encode_inputs({column: [row.get(column) for row in rows] for column in names})
        self.check_tokens(columns["input_ids"])
        columns.setdefault("row", list(range(len(rows))))
        lengths = np.array([_tokens(ids) for ids in columns["input_ids"]])
        order = np.argsort(lengths, kind="stable")
        batches = np.split(order, np.cumsum(sizes(lengths[order]))[:-1])
        return Encoded([row["id"] for row in rows], columns, batches, done)

    @torch.inference_mode()
    def answers(self, window: Encoded, scores: bool = False) -> list[dict[str, Any]]:
        """Return the predictions for encoded rows, in their order."""
        columns, found = window.columns, [dict[str, Any]() for _ in window.columns["row"]]
        with one_thread(getattr(self.model.model, "own_threads", False)):
            for part in window.batches:
                chosen = part.tolist()
                for i, one in zip(chosen, self.model.predict_batch(self.batch(columns, chosen)), strict=True):
                    found[i] = one or {}
        parts: list[list[dict[str, Any]]] = [[] for _ in window.ids]
        for row, one in zip(columns["row"], found, strict=True):
            parts[row].append(one)
        cut = {row for row, truncated in zip(columns["row"], columns["truncated"], strict=True) if truncated}
        whole = [self.model.merge_windows(some) for some in parts]
        whole = self.calibration(whole) if self.calibration else whole
        return [_answer(one, found, scores, row in cut) for row, (one, found) in enumerate(zip(window.ids, whole, strict=True))]

    def batch(self, columns: dict[str, list[Any]], chosen: list[int]) -> dict[str, Any]:
        """Return the tensors of some features, by their positions, on the device."""
        batch = self.data.collate({name: [values[i] for i in chosen] for name, values in columns.items()})
        return {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def _answer(row_id: Any, prediction: dict[str, Any], scores: bool, cut: bool) -> dict[str, Any]:
    kept = {"id": row_id, **prediction} if scores else {"id": row_id, **{k: v for k, v in prediction.items() if k != "scores"}}
    return {**kept, "truncated": True} if cut else kept


def _tokens(ids: list[Any]) -> int:
    """Number of tokens of an example: for several texts, such as choices, that of the longest times their number."""
    return len(ids) * max(map(len, ids)) if len(ids) and isinstance(ids[0], list) else len(ids)
