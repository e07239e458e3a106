"""Rows of many requests go through a model together."""

import asyncio
import logging
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import NEEDS, Predictor
from ftlit.exports.predicting.windows import characters
from ftlit.serve.problems import RowProblem
from ftlit.serve.queues.queue import Job, Queue

log = logging.getLogger("ftlit.serve")


class Rows(Job):
    """The rows of a request, and their answers as they come.

    Args:
        rows: Texts or rows.
        scores: Whether to include the scores of all labels.
    """

    def __init__(self, rows: list[Any], scores: bool) -> None:
        super().__init__([characters(row) for row in rows])
        self.rows, self.scores = rows, scores
        self.answers: list[Any] = [None] * len(rows)  # a prediction or a `RowProblem` each
        self.left = len(rows)
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

    def answer(self, i: int, found: dict[str, Any] | RowProblem) -> None:
        """Set the answer of a row, in the model's thread."""
        hide = isinstance(found, dict) and not self.scores
        self.answers[i] = {key: value for key, value in found.items() if key != "scores"} if hide else found  # type: ignore[union-attr]
        self.left -= 1
        if not self.left:
            with suppress(RuntimeError):  # nobody waits any more
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Batcher(Queue[Rows]):
    """Predicts for the rows of requests."""

    ahead = 4  # so that rows of like lengths share a batch

    def answer(self, taken: list[tuple[Rows, int]]) -> None:
        for part in self._alike(taken):
            self._answer(part)

    def _alike(self, taken: list[tuple[Rows, int]]) -> Iterator[list[tuple[Rows, int]]]:
        """Cut rows into about as many as fit into a batch, sorted by their lengths; each part is answered before the next."""
        part: list[tuple[Rows, int]] = []
        for job, i in sorted(taken, key=lambda row: row[0].sizes[row[1]]):
            if part and (len(part) + 1) * job.sizes[i] > self.room:
                yield part
                part = []
            part.append((job, i))
        yield part

    def _answer(self, taken: list[tuple[Rows, int]]) -> None:
        predictor = self.loaded.predictor
        checked = [self._row(predictor, job, i) for job, i in taken]
        predictions = iter(self._predictions(predictor, [row for row in checked if not isinstance(row, RowProblem)]))
        answers = [found if isinstance(found, RowProblem) else next(predictions) for found in checked]
        failed = sum(isinstance(found, RowProblem) for found in answers)
        self.loaded.metrics.rows(self.loaded.name, len(taken) - failed, failed)
        for (job, i), found in zip(taken, answers, strict=True):
            job.answer(i, found)

    def _row(self, predictor: Predictor, job: Rows, i: int) -> dict[str, Any] | RowProblem:
        """A checked row, or what is wrong with it."""
        if job.sizes[i] > self.limits.max_characters:
            return RowProblem(422, f"the row has {job.sizes[i]} characters; this server takes {self.limits.max_characters}")
        try:
            return predictor.row(i, job.rows[i])
        except UserError as error:
            return RowProblem(422, str(error), column_in(str(error), predictor))
        except Exception as error:
            return failure(error)

    def _predictions(self, predictor: Predictor, rows: list[dict[str, Any]]) -> list[dict[str, Any] | RowProblem]:
        """The predictions of rows; if they fail together, each is tried alone."""
        try:
            return list(predictor.predictions(rows, self.loaded.sizes, scores=True)) if rows else []
        except UserError as error:
            if len(rows) == 1:
                return [RowProblem(422, str(error), column_in(str(error), predictor))]
        except Exception as error:
            if len(rows) == 1:
                return [failure(error)]
        return [found for row in rows for found in self._predictions(predictor, [row])]


def failure(error: Exception) -> RowProblem:
    """The problem of a row that the model could not answer, which is logged."""
    log_failure("a row", error)
    return RowProblem(500, "the model failed on this row")


def log_failure(what: str, error: Exception) -> None:
    """Log the kind of an error and where it was raised, but not its message, which may quote a text."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    log.error("%s failed with %s at %s", what, type(error).__name__, " > ".join(f"{at.filename}:{at.lineno}" for at in frames))


def column_in(sentence: str, predictor: Predictor) -> str | None:
    """The column that an error names first, if it names one."""
    columns = (predictor.data.input_columns() | predictor.data.optional_columns()).values()
    problem = sentence.partition(NEEDS)[0]
    found = [(problem.index(repr(column)), column) for column in columns if repr(column) in problem]
    return min(found)[1] if found else None
