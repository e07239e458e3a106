"""A file of predictions that is being written: what a killed command leaves behind, and how another one goes on.

Predictions go to ``<output>.partial`` as lines of JSON, whatever the format; at the end the output is made from them.
``<output>.partial.json`` says what they were made from.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ftlit.errors import UserError
from ftlit.exports.output.formats import Types, converter, line
from ftlit.runs.lock import BUSY
from ftlit.util.files import read_json, replacing, unwritable, write_json

PARTIAL = ".partial"


class Partial:
    """Predictions on their way to a file.

    Args:
        output: The file that is wanted.
        source: What the predictions are made from: digests, options and versions by their names in messages.
        resume: Whether to go on after the predictions that an earlier command has left.

    Raises:
        UserError: Those were made from something else, the file cannot be written, or another command writes it.
    """

    def __init__(self, output: Path, source: dict[str, Any], resume: bool = False) -> None:
        self.output, self.path = output, output.with_name(output.name + PARTIAL)
        self.about = output.with_name(f"{output.name}{PARTIAL}.json")
        self.count, self.cut = 0, 0  # of predictions, and of those of a text that was truncated
        if resume:
            self._check_source(source)
        self._file = self._opened()
        try:
            self._begin(resume)
            write_json(self.about, source)
        except BaseException:
            self.close()
            if not self.count:
                self.remove()
            raise

    def _check_source(self, source: dict[str, Any]) -> None:
        if not self.path.exists() or not self.path.stat().st_size:  # killed before anything was predicted
            return
        known = read_json(self.about)
        if differing := [name for name in source if known.get(name) != source[name]]:
            name = differing[0]
            short = [value for value in (known.get(name), source[name]) if len(str(value)) < 40]
            values = f" ({short[0]} then, {short[1]} now)" if len(short) == 2 else ""
            raise UserError(
                f"{self.path} cannot be resumed: {name} differs from what its predictions were made with{values}; leave out "
                "--resume to begin anew, or choose another --output"
            )

    def _opened(self) -> BinaryIO:
        """The file, locked; its content stays."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b")
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                file.close()
                raise UserError(f"{self.path} is being written by another command; choose another --output") from error
        return file

    def _begin(self, resume: bool) -> None:
        """Keep the whole lines if they are to be resumed."""
        self._file.seek(0)
        end = 0
        for found in self._file if resume else ():
            row = _row(found)
            if row is None:
                break
            end, self.count, self.cut = end + len(found), self.count + 1, self.cut + bool(row.get("truncated"))
        if not resume and self._file.seek(0, os.SEEK_END):
            print(f"replacing {self.path}, which an earlier command has left (--resume would go on)", file=sys.stderr)
        self._file.truncate(end)

    def fill(self, windows: Iterable[list[dict[str, Any]]]) -> None:
        """Add predictions as they come. If a row is wrong, nothing is left of them, since another input is needed then.

        Args:
            windows: The predictions of one window of rows after the other.
        """
        try:
            for rows in windows:
                self.write(rows)
        except BaseException as error:
            if not self.count or (isinstance(error, UserError) and not isinstance(error.__cause__, OSError)):
                self.remove()
            else:
                print(f"{self.count} predictions are in {self.path}; the same command with --resume goes on", file=sys.stderr)
            raise

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Add predictions.

        Raises:
            UserError: The disk is full, or refuses to write.
        """
        try:
            self._file.write("".join(map(line, rows)).encode())
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.count, self.cut = self.count + len(rows), self.cut + sum(row.get("truncated", False) for row in rows)

    def finish(self, types: Types) -> None:
        """Make the output of the predictions.

        Args:
            types: Types of the columns.
        """
        convert = converter(self.output.name)
        if convert is None:
            os.fsync(self._file)
            os.replace(self.path, self.output)
        else:
            with replacing(self.output) as beside:
                convert(self.path, beside, types)
        self.remove()

    def remove(self) -> None:
        """Remove what is left beside the output."""
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, which stays."""
        with suppress(OSError):  # what could not be written is tried once more
            self._file.close()


def _row(found: bytes) -> dict[str, Any] | None:
    """The prediction in a line, or None if the line is not whole."""
    try:
        row = json.loads(found) if found.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
