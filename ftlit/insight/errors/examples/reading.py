"""Read predictions a part at a time: a million rows with their scores do not fit into memory as objects."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ftlit.runs.reading import RunFolder
from ftlit.util.files import damaged

CHUNK = 2000  # rows


class PredictionFile:
    """The predictions of a split.

    Args:
        run: The run.
        split: The split.

    Raises:
        UserError: The split has not been evaluated.
    """

    def __init__(self, run: RunFolder, split: str) -> None:
        self.run, self.path = run, run.predictions_path(split)

    def chunks(self) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
        """The rows in parts of up to `CHUNK`, each with the places in the file at which its rows begin.

        Raises:
            UserError: The file is damaged.
        """
        places: list[int] = []
        rows: list[dict[str, Any]] = []
        number = place = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                places.append(place)
                rows.append(self._row(line, number))
                place += len(line)
                if len(rows) == CHUNK:
                    yield places, rows
                    places, rows = [], []
        if rows:
            yield places, rows
        if not number:
            raise damaged(self.path, "it is empty")

    def rows_at(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """The rows that begin at places of the file."""
        found = []
        with self.path.open("rb") as file:
            for place in places:
                file.seek(place)
                found.append(self._row(file.readline(), 0))
        return found

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line.decode())
        except ValueError as error:
            raise damaged(self.path, f"line {number} is not valid JSON ({error})") from error
        if not (isinstance(row, dict) and "id" in row):
            raise damaged(self.path, f"line {number} is not a row with its id")
        return row
