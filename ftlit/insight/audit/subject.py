"""What is audited: a finished run, its data and its predictions on a split."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from ftlit.data.rows.rows import has_own_ids
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError, near
from ftlit.exports.export import check_finished
from ftlit.exports.predict import load
from ftlit.exports.predicting.predictor import Predictor
from ftlit.insight.audit.pairs.answers import KINDS, Answer, Comparer
from ftlit.metrics.evidence import METRIC_SETTINGS
from ftlit.runs.reading import RunFolder

SPLITS = ("test", "validation", "train")
Row = dict[str, Any]


class Subject:
    """A finished run that is audited.

    Args:
        run: Folder of the run.
        split: The split whose rows are used; by default test if the run was evaluated on it, else validation.
        batch_size: Number of rows per batch for new texts; by default what suits the device.
        **options: Further arguments of `ftlit.load`.

    Raises:
        UserError: There is no finished run, or it has no such split.
    """

    def __init__(self, run: str | Path, split: str | None = None, batch_size: int | None = None, **options: Any) -> None:
        self.run = RunFolder(Path(run).expanduser())
        self.run.check()
        check_finished(self.run.folder)
        if split is not None and split not in SPLITS[:2]:
            raise UserError(f"--split must be test or validation, got {split!r}")
        self.split = split or ("test" if "test" in self.run.results else "validation")
        self.batch_size = batch_size
        self.predictor: Predictor = load(self.run.folder, calibrated=False, **options)
        self.data.require([self.split])
        self._positions: dict[str, dict[str, int]] = {}

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run.folder.resolve().name

    @property
    def data(self) -> TaskData:
        """The data module of the run."""
        return self.predictor.data

    @property
    def task(self) -> Any:
        """The task with its trained weights."""
        return self.predictor.model

    @property
    def writes(self) -> bool:
        """Whether the model writes texts."""
        return self.predictor.generates

    @property
    def metric_settings(self) -> dict[str, Any]:
        """Settings of the task that decide what its metrics count."""
        return {key: self.task.hparams.get(key) for key in METRIC_SETTINGS}

    # Answers to new texts

    @property
    def is_comparable(self) -> bool:
        """Whether answers to two texts can be compared."""
        return self.task.evidence in KINDS

    def comparer(self, tolerance: float) -> Comparer:
        """What compares two answers of the run."""
        return Comparer(self.task.evidence, float(getattr(self.task, "deviation", 1.0)), tolerance)

    def answers(self, rows: list[Row]) -> list[Answer]:
        """The answers to rows, with all scores."""
        return self.predictor(rows, self.batch_size, scores=True)

    def accepts(self, row: Row) -> bool:
        """Whether a new row has nothing wrong with it."""
        return self.data.validate_inputs(row) is None

    # Rows of the data

    def shuffled(self, seed: int) -> Iterator[tuple[str, Any, Row]]:
        """The rows of the split in a random order: the id, the document, and the input columns of each."""
        rows, names = self.data.rows[self.split], self._inputs
        order = list(range(len(rows)))
        Random(seed).shuffle(order)
        for i in order:
            row = rows[i]
            document = row.get(self.data.group) if self.data.group else None
            yield row["row_id"], row["row_id"] if document is None else ("group", document), {name: row[name] for name in names}

    @cached_property
    def _inputs(self) -> list[str]:
        known = self.data.rows[self.split].column_names
        return [name for name in (self.data.input_columns() | self.data.optional_columns()).values() if name in known]

    @cached_property
    def predictions(self) -> list[Row]:
        """The predictions of the split, from the run folder."""
        return self.run.prediction_rows(self.split)

    def column(self, name: str, ids: list[str]) -> list[Any]:
        """The values of any column of the data set, by the ids of rows.

        Raises:
            UserError: There is no such column.
        """
        found = dict[str, list[Any]]()
        for split in {row.partition(":")[0] for row in ids}:
            rows = self.data.rows.raw[split]
            if name not in rows.column_names:
                known = near(name, rows.column_names)
                raise UserError(f"groups.columns: {split} of {self.data.dataset} has no column {name!r}. {known}")
            found[split] = rows[name][:]
        return [found[row.partition(":")[0]][self._position(row)] for row in ids]

    def _position(self, row_id: str) -> int:
        """The position in its source of the row with an id."""
        split, _, own = row_id.partition(":")
        if split not in self._positions:
            rows = self.data.rows.raw[split]
            self._positions[split] = {str(i): n for n, i in enumerate(rows["id"][:])} if has_own_ids(rows) else {}
        return self._positions[split][own] if self._positions[split] else int(own)
