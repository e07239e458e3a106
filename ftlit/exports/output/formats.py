"""Files of predictions. Each is made from lines of JSON, one a prediction."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.exports.output.parquet import write_parquet

Types = Mapping[str, Any]  # of the columns of a prediction, see `TaskModule.prediction_types`
FORMATS = (".jsonl", ".csv", ".parquet")


def check_output(name: str) -> None:
    """Check that a format is known by the ending of a file.

    Raises:
        UserError: It is not.
    """
    if name != "-" and not name.endswith(FORMATS):
        raise UserError(f"--output {name!r} must end in jsonl, csv or parquet, or be - for standard output")


def line(row: dict[str, Any]) -> str:
    """A prediction as a line of JSON."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def rows_in(lines: Path) -> Iterator[dict[str, Any]]:
    """The predictions in a file of lines."""
    with lines.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def converter(name: str) -> Callable[[Path, Path, Types], None] | None:
    """What writes a file by its ending from a file of lines, given the types of columns; None for lines as they are."""
    if name.endswith(".csv"):
        return lambda lines, file, types: write_csv(rows_in(lines), file)
    if name.endswith(".parquet"):
        return lambda lines, file, types: write_parquet(lambda: rows_in(lines), file, types)
    return None


def write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write predictions as a table with a column for the score of each label; the first one determines the columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table: csv.DictWriter[str] | None = None
        for row in map(_flat, rows):
            if table is None:
                table = csv.DictWriter(file, list(row))
                table.writeheader()
            table.writerow(row)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    scores = row.get("scores")
    named = scores if isinstance(scores, dict) else {}  # scores of choices are a list
    flat = {key: value for key, value in row.items() if value is not named}
    flat |= {f"scores.{label}": score for label, score in named.items()}  # a label may be called id, too
    flat["truncated"] = row.get("truncated", False)  # in every row, since the first one determines the columns
    return {key: _cell(value) for key, value in flat.items()}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value
