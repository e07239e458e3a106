"""Read the files of a run folder."""

import csv
import io
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from ftlit.errors import UserError
from ftlit.runs.files import BEST, CONFIG, LAST, METRICS, PROGRESS, RECORD, RESULTS, SCHEMA, predictions_file
from ftlit.util.files import damaged, read_json, read_whole
from ftlit.util.settings import read_yaml

if TYPE_CHECKING:
    from pandas import DataFrame

INTERVAL = "95% interval"  # column of results


class RunFolder:
    """The files of a run. Each file is read on first access; files that do not exist yet are empty.

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
        """The resolved config, from config.yaml."""
        return read_yaml(self.folder / CONFIG)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Task, seed, times, versions, hardware, data and numbers of weights, from run.json.

        Raises:
            UserError: The file is damaged, or is that of another program.
        """
        found = read_json(path := self.folder / RECORD)
        if found and not is_run(found):
            raise damaged(path, "it is not the record of a run, with its status and versions")
        return found

    @cached_property
    def results(self) -> dict[str, Any]:
        """Metrics by split, and the cost of the run as ``efficiency``, from results.json.

        Raises:
            UserError: The file is damaged.
        """
        found = read_json(path := self.folder / RESULTS)
        if wrong := [key for key, values in found.items() if not isinstance(values, dict)]:
            raise damaged(path, f"it has {wrong[0]!r}, which is no split with its metrics")
        return found

    @property
    def progress(self) -> dict[str, Any]:
        """The current step of training and the total number of steps, from progress.json."""
        return read_json(self.folder / PROGRESS)

    def logged(self) -> list[dict[str, float]]:
        """The rows of metrics.csv: ``step``, ``epoch`` and the values logged at this step.

        Raises:
            UserError: The file is damaged.
        """
        path, found = self.folder / METRICS, []
        for number, row in enumerate(metric_rows(path), start=2):
            try:
                found.append({key: float(value) for key, value in row.items()})
            except ValueError as error:
                raise damaged(path, f"line {number} has a value that is no number") from error
        return found

    @property
    def metrics(self) -> "DataFrame":
        """The rows of metrics.csv as a data frame, with NaN for values that were not logged at a step."""
        from pandas import DataFrame

        rows = self.logged()
        return DataFrame(rows, columns=list(dict.fromkeys(["step", "epoch", *sorted({key for row in rows for key in row})])))

    def predictions(self, split: str = "test") -> "DataFrame":
        """The predictions of a split as a data frame, in the order of its rows.

        Raises:
            UserError: The split has not been evaluated, or a line is broken.
        """
        from pandas import DataFrame

        return DataFrame(self.prediction_rows(split))

    def prediction_rows(self, split: str) -> list[dict[str, Any]]:
        """The predictions of a split, with one dictionary for each row.

        Raises:
            UserError: The split has not been evaluated, or a line is broken.
        """
        path = self.predictions_path(split)
        rows: list[dict[str, Any]] = []
        try:
            rows += map(json.loads, read_whole(path).removesuffix("\n").split("\n"))  # not splitlines: texts have their own
        except json.JSONDecodeError as error:
            raise damaged(path, f"line {len(rows) + 1} is not valid JSON ({error})") from error
        if wrong := [n for n, row in enumerate(rows, 1) if not (isinstance(row, dict) and "id" in row)]:
            raise damaged(path, f"line {wrong[0]} is not a row with its id")
        return rows

    def predictions_path(self, split: str) -> Path:
        """The file of the predictions of a split.

        Raises:
            UserError: The split has not been evaluated.
        """
        path = predictions_file(self.folder, split)
        if not path.is_file():
            raise UserError(f"{self.folder} has no predictions of {split}; {self.evaluation_command(split)} writes them")
        return path

    def evaluation_command(self, split: str) -> str:
        """The command that evaluates the run on a split, for error messages."""
        return f"`python -m ftlit {'test' if split == 'test' else 'validate'} --config {self.folder / CONFIG}`"

    @property
    def best_checkpoint(self) -> Path | None:
        """Path of the checkpoint with the best validation score; None if it does not exist."""
        return self._existing(BEST)

    @property
    def last_checkpoint(self) -> Path | None:
        """Path of the checkpoint from which training can be resumed; None if it does not exist."""
        return self._existing(LAST)

    def _existing(self, name: str) -> Path | None:
        return path if (path := self.folder / name).is_file() else None

    # State

    @property
    def status(self) -> str | None:
        """`running`, `completed`, `failed` or `preempted`; None before the run has started."""
        return self.record.get("status")

    @property
    def finished(self) -> bool:
        """Whether training and the evaluation of the best checkpoint have finished."""
        return self.status == "completed"

    def check_schema(self) -> None:
        """Check that the run has the file layout of this version of ftlit.

        Raises:
            UserError: run.json has a different schema number, or none.
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
        """Check that the folder contains a run of this version's schema.

        Raises:
            UserError: It does not. The message lists the runs inside the folder, if there are any.
        """
        if not self.folder.is_dir():
            fact = "is a file" if self.folder.exists() else "does not exist"
            raise UserError(f"{self.folder} {fact}; expected a run folder, which is --run_dir of `python -m ftlit fit`")
        for name in (CONFIG, RECORD):
            if not (self.folder / name).is_file():
                raise UserError(f"{self.folder} holds no run: it has no {name}{self._inside()}")
        self.check_schema()

    def _inside(self) -> str:
        runs = sorted(str(file.parent) for file in self.folder.glob(f"*/{RECORD}"))
        return f"; there are runs in it: {', '.join(runs[:3])}{', …' if len(runs) > 3 else ''}" if runs else ""


def is_run(record: dict[str, Any]) -> bool:
    """Whether the content of a run.json is the record of a run of ftlit, of whatever version."""
    kinds = {"status": str, "versions": dict, "schema": int | None, "data": dict | None, "git": dict | None}
    return all(isinstance(record.get(key), kind) for key, kind in kinds.items())


def metric_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv without empty cells; none if the file does not exist.

    Raises:
        UserError: The file is damaged.
    """
    if not path.is_file():
        return []
    text = read_whole(path)
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(table)
    except csv.Error as error:
        raise damaged(path, f"line {table.line_num} is not a row of a csv file ({error})") from error
    if "step" not in (table.fieldnames or []):
        raise damaged(path, "its first line does not name the column 'step'")
    if wrong := [n for n, row in enumerate(rows, start=2) if None in row or None in row.values()]:
        raise damaged(path, f"line {wrong[0]} has another number of columns than the first")
    if not text.endswith("\n"):
        raise damaged(path, "its last line is cut off")
    return [{key: value for key, value in row.items() if value != ""} for row in rows]


def results_text(results: dict[str, Any], style: str = "simple") -> str:
    """Format metrics as a table in a style of tabulate, with the columns of `results_columns`."""
    columns = results_columns(results)
    if ends := columns.get(INTERVAL):
        columns[INTERVAL] = {name: f"{low:.4f} to {high:.4f}" for name, (low, high) in ends.items()}
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    rows = [[name, *(values.get(name) for values in columns.values())] for name in names]
    return tabulate(rows, headers=["metric", *columns], floatfmt=".4f", tablefmt=style)


def results_columns(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics by column and name, as readers compare them.

    The untrained model is next to the trained one, and the 95% intervals and a baseline are next to the test scores.
    """
    columns = {}
    for split in ("validation", "test"):
        if split in results.get("before", {}):
            columns[f"{split} (untrained)"] = results["before"][split]
        if split in results:
            columns[split] = results[split]
    if "test" in results:
        if ends := results.get("intervals", {}).get("test"):
            columns[INTERVAL] = ends
        if baseline := results.get("baseline", {}).get("test"):
            columns["baseline"] = baseline
    return columns
