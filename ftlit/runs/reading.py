"""The reader of the run folder."""

import csv
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from ftlit.errors import UserError
from ftlit.runs.files import BEST, CONFIG, LAST, METRICS, PROGRESS, RECORD, RESULTS, SCHEMA, predictions_file
from ftlit.util.files import read_json
from ftlit.util.settings import read_yaml

if TYPE_CHECKING:
    from pandas import DataFrame


class RunFolder:
    """The files of a run, each read when it is first needed; what a run has not written yet is empty.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    # Files

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml: the resolved config."""
        return read_yaml(self.folder / CONFIG)

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json: task, seed, times, versions, hardware, data, numbers of weights."""
        return read_json(self.folder / RECORD)

    @cached_property
    def results(self) -> dict[str, Any]:
        """results.json: metrics by split, and efficiency."""
        return read_json(self.folder / RESULTS)

    @property
    def progress(self) -> dict[str, Any]:
        """progress.json: the step that training has reached and the number of steps."""
        return read_json(self.folder / PROGRESS)

    def logged(self) -> list[dict[str, float]]:
        """The rows of metrics.csv: ``step``, ``epoch`` and the values logged then."""
        path = self.folder / METRICS
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]

    @property
    def metrics(self) -> "DataFrame":
        """metrics.csv as a table, with NaN where a value was not logged at a step."""
        from pandas import DataFrame

        rows = self.logged()
        return DataFrame(rows, columns=list(dict.fromkeys(["step", "epoch", *sorted({key for row in rows for key in row})])))

    def predictions(self, split: str = "test") -> "DataFrame":
        """The predictions of a split as a table, in the order of its rows.

        Raises:
            UserError: The split has not been evaluated, or a line is broken.
        """
        from pandas import DataFrame

        return DataFrame(self.prediction_rows(split))

    def prediction_rows(self, split: str) -> list[dict[str, Any]]:
        """The predictions of a split, one dictionary for each row.

        Raises:
            UserError: The split has not been evaluated, or a line is broken.
        """
        path = predictions_file(self.folder, split)
        rows: list[dict[str, Any]] = []
        try:
            with path.open(encoding="utf-8") as file:  # not splitlines, which also ends a line inside a text
                rows += map(json.loads, file)
        except OSError as error:
            raise UserError(
                f"{self.folder} has no predictions of {split}; {self.evaluation_command(split)} writes them"
            ) from error
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: line {len(rows) + 1} is not valid JSON: {error}") from error
        return rows

    def evaluation_command(self, split: str) -> str:
        """The command that evaluates the run on a split, for messages."""
        return f"`python -m ftlit {'test' if split == 'test' else 'validate'} --config {self.folder / CONFIG}`"

    @property
    def best_checkpoint(self) -> Path | None:
        """The weights at the best validation, None if there is no such file."""
        return self._existing(BEST)

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint from which training can be resumed, None if there is no such file."""
        return self._existing(LAST)

    def _existing(self, name: str) -> Path | None:
        return path if (path := self.folder / name).is_file() else None

    # State

    @property
    def status(self) -> str | None:
        """`running`, `completed`, `failed` or `preempted`; None before the run has begun."""
        return self.record.get("status")

    @property
    def finished(self) -> bool:
        """Whether training and the evaluation of the best checkpoint are done."""
        return self.status == "completed"

    def check_schema(self) -> None:
        """Refuse a run that another version of ftlit wrote in another layout.

        Raises:
            UserError: run.json has another schema, or none.
        """
        if not self.record or (found := self.record.get("schema")) == SCHEMA:
            return
        earlier = found is None or found < SCHEMA
        raise UserError(
            f"{self.folder} was written by {'an earlier' if earlier else 'a later'} version of ftlit ({RECORD} has schema "
            f"{'none' if found is None else found}, expected {SCHEMA}); train the run again, or use "
            f"{'ftlit 0.1' if found is None else 'that version'}"
        )

    def check(self) -> None:
        """Refuse a folder that holds no run, or a run of another schema.

        Raises:
            UserError: With the runs inside the folder, if it has some.
        """
        if not self.folder.is_dir():
            fact = "is a file" if self.folder.exists() else "does not exist"
            raise UserError(f"{self.folder} {fact}; give the folder of a run, which is --run_dir of `python -m ftlit fit`")
        for name in (CONFIG, RECORD):
            if not (self.folder / name).is_file():
                raise UserError(f"{self.folder} holds no run: it has no {name}{self._inside()}")
        self.check_schema()

    def _inside(self) -> str:
        runs = sorted(str(file.parent) for file in self.folder.glob(f"*/{RECORD}"))
        return f"; there are runs in it: {', '.join(runs[:3])}{', …' if len(runs) > 3 else ''}" if runs else ""


def results_text(results: dict[str, Any], style: str = "simple") -> str:
    """Metrics as a table in a style of tabulate, the untrained model beside the trained one."""
    columns = {}
    for split in ("validation", "test"):
        if split in results.get("before", {}):
            columns[f"{split} (untrained)"] = results["before"][split]
        if split in results:
            columns[split] = results[split]
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    rows = [[name, *(values.get(name) for values in columns.values())] for name in names]
    return tabulate(rows, headers=["metric", *columns], floatfmt=".4f", tablefmt=style)
