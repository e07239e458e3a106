"""Rows of many requests go through a model together.

A thread for each model takes the rows that wait, and answers them before it looks again. So a row never waits while the model
is idle, and batches grow with the load by themselves.
"""

import asyncio
import logging
import math
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from ftlit.data.batches.batching import TokenBudget
from ftlit.errors import UserError
from ftlit.exports.predict import NEEDS, Predictor
from ftlit.serve.metrics import Metrics
from ftlit.serve.problems import ProblemError, RowProblem
from ftlit.serve.settings import Limits

CHARACTERS = 4  # of a token, about
log = logging.getLogger("ftlit.serve")


class Job:
    """The rows of a request, and their answers as they come.

    Args:
        rows: Texts or rows.
        scores: Whether to include the scores of all labels.
    """

    def __init__(self, rows: list[Any], scores: bool) -> None:
        self.rows, self.scores = rows, scores
        self.sizes = [characters(row) for row in rows]
        self.answers: list[Any] = [None] * len(rows)  # a prediction or a `RowProblem` each
        self.begun, self.left, self.cancelled = 0, len(rows), False
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


Place = tuple[Job, int]  # a row of a request


class Batcher:
    """The queue and the thread of a model.

    Args:
        name: Name of the model.
        predictor: The model; another one can take its place at any time.
        limits: Limits of the server.
        metrics: Where rows and batches are counted.
    """

    def __init__(self, name: str, predictor: Predictor, limits: Limits, metrics: Metrics) -> None:
        self.name, self.predictor, self.limits, self.metrics = name, predictor, limits, metrics
        self.waiting, self.rate = 0, 0.0  # rows; rows a second, lately
        self._tokens = limits.tokens(predictor.device)
        self._jobs: deque[Job] = deque()
        self._closed, self._change = False, threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)
        metrics.waiting[name] = lambda: self.waiting

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what was accepted, and end the thread."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, job: Job) -> None:
        """Queue the rows of a request.

        Raises:
            ProblemError: Too many rows are waiting.
        """
        with self._change:
            if self.waiting + len(job.rows) > self.limits.max_waiting:
                seconds = max(1, math.ceil(self.waiting / self.rate)) if self.rate else 1
                raise ProblemError(
                    429,
                    f"{self.waiting} rows are waiting for the model {self.name!r}, which may have {self.limits.max_waiting}; "
                    f"try again in {seconds} s",
                    {"Retry-After": str(seconds)},
                )
            self.waiting += len(job.rows)
            self._jobs.append(job)
            self._change.notify()

    def cancel(self, job: Job) -> None:
        """Forget the rows of a request that have not begun."""
        with self._change:
            if not job.cancelled and job in self._jobs:
                self._jobs.remove(job)
                self.waiting -= len(job.rows) - job.begun
            job.cancelled = True

    # In the model's thread

    def _run(self) -> None:
        if self.limits.threads:
            torch.set_num_threads(self.limits.threads)
        while (taken := self._take()) is not None:
            began = time.perf_counter()
            self._answer(taken)
            rate = len(taken) / (time.perf_counter() - began)
            self.rate = rate if not self.rate else 0.8 * self.rate + 0.2 * rate

    def _take(self) -> list[Place] | None:
        """Wait for rows and take some: of each request one in turn, so that a large one does not delay the others.

        None stands for the end: the queue is closed, and nothing waits.
        """
        taken: list[Place] = []
        with self._change:
            self._change.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return None
            if self.limits.wait_ms:
                full = lambda: self.waiting >= self.limits.batch_rows or self._closed  # noqa: E731
                self._change.wait_for(full, self.limits.wait_ms / 1000)
            size, room = 0, self._tokens * CHARACTERS
            while self._jobs and len(taken) < self.limits.batch_rows and size < room:
                job = self._jobs.popleft()
                taken.append((job, job.begun))
                size += job.sizes[job.begun]
                job.begun += 1
                self.waiting -= 1
                if job.begun < len(job.rows):
                    self._jobs.append(job)
        return taken

    def _answer(self, taken: list[Place]) -> None:
        predictor = self.predictor
        checked = [self._row(predictor, job, i) for job, i in taken]
        predictions = iter(self._predictions(predictor, [row for row in checked if not isinstance(row, RowProblem)]))
        answers = [found if isinstance(found, RowProblem) else next(predictions) for found in checked]
        failed = sum(isinstance(found, RowProblem) for found in answers)
        self.metrics.rows(self.name, len(taken) - failed, failed)
        for (job, i), found in zip(taken, answers, strict=True):
            job.answer(i, found)

    def _row(self, predictor: Predictor, job: Job, i: int) -> dict[str, Any] | RowProblem:
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
            return list(predictor.predictions(rows, self._sizes, scores=True)) if rows else []
        except UserError as error:
            if len(rows) == 1:
                return [RowProblem(422, str(error), column_in(str(error), predictor))]
        except Exception as error:
            if len(rows) == 1:
                return [failure(error)]
        return [found for row in rows for found in self._predictions(predictor, [row])]

    def _sizes(self, lengths: np.ndarray) -> list[int]:
        return TokenBudget(max(self._tokens, int(lengths[-1]))).eval_batch_sizes(lengths)


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


def characters(row: Any) -> int:
    """Number of characters of a row, plus one for each of its parts."""
    total, todo = 0, [row]
    while todo:
        part = todo.pop()
        total += 1 + (len(part) if isinstance(part, str) else 0)
        if isinstance(part, list | dict):
            todo += part.values() if isinstance(part, dict) else part
    return total
