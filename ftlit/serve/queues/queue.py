"""The queues of a model and their thread, which takes rows that wait and answers them before it looks again.

So a row never waits while the model is idle, and batches grow with the load by themselves.
"""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from ftlit.exports.predicting.predictor import Predictor
from ftlit.exports.predicting.sizes import by_tokens
from ftlit.serve.metrics import Metrics
from ftlit.serve.problems import ProblemError
from ftlit.serve.settings import Limits

CHARACTERS = 4  # of a token, about


class Job:
    """The rows of a request.

    Args:
        sizes: Number of characters of each row.
    """

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.begun, self.cancelled = sizes, 0, False


AnyJob = TypeVar("AnyJob", bound=Job)


class Loaded:
    """A model in memory, and the thread in which its queues use it, one after the other.

    Args:
        name: Name of the model.
        predictor: The model; another one can take its place at any time.
        limits: Limits of the server.
        metrics: Where rows and batches are counted.
    """

    def __init__(self, name: str, predictor: Predictor, limits: Limits, metrics: Metrics) -> None:
        self.name, self.predictor, self.limits, self.metrics = name, predictor, limits, metrics
        self.tokens = limits.tokens(predictor.device)
        self.queues: list[Queue[Any]] = []
        self.closed, self.change = False, threading.Condition()  # of the queues, which add themselves
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what was accepted, and end the thread."""
        with self.change:
            self.closed = True
            self.change.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        if self.limits.threads:
            torch.set_num_threads(self.limits.threads)
        while (queue := self._next()) is not None:
            queue.work()

    def _next(self) -> "Queue[Any] | None":
        """Wait for a queue with rows; None stands for the end. The queue comes last next time, so that they take turns."""
        with self.change:
            self.change.wait_for(lambda: self.closed or any(queue.jobs for queue in self.queues))
            queue = next((queue for queue in self.queues if queue.jobs), None)
            if queue is not None:
                self.queues.remove(queue)
                self.queues.append(queue)
            return queue

    def sizes(self, lengths: np.ndarray) -> list[int]:
        """Sizes of batches of rows with numbers of tokens ``(rows,)``, in ascending order."""
        return by_tokens(self.tokens)(lengths)


class Queue(ABC, Generic[AnyJob]):
    """The requests of one kind to a model.

    Args:
        loaded: The model.
    """

    ahead = 1  # batches whose rows are taken together

    def __init__(self, loaded: Loaded) -> None:
        self.loaded, self.limits = loaded, loaded.limits
        self.waiting, self.rate = 0, 0.0  # rows; rows a second, lately
        self.jobs: deque[AnyJob] = deque()
        loaded.queues.append(self)

    @property
    def room(self) -> int:
        """Number of characters of a batch, about."""
        return self.loaded.tokens * CHARACTERS

    @abstractmethod
    def answer(self, taken: list[tuple[AnyJob, int]]) -> None:
        """Answer rows, each with its position in its job. Called in the thread of the model."""

    def submit(self, job: AnyJob) -> None:
        """Queue the rows of a request.

        Raises:
            ProblemError: Too many rows are waiting.
        """
        with self.loaded.change:
            if self.waiting + len(job.sizes) > self.limits.max_waiting:
                seconds = max(1, math.ceil(self.waiting / self.rate)) if self.rate else 1
                raise ProblemError(
                    429,
                    f"{self.waiting} rows are waiting for the model {self.loaded.name!r}, which may have "
                    f"{self.limits.max_waiting}; try again in {seconds} s",
                    {"Retry-After": str(seconds)},
                )
            self.waiting += len(job.sizes)
            self.jobs.append(job)
            self.loaded.change.notify()

    def cancel(self, job: AnyJob) -> None:
        """Forget the rows of a request that have not begun."""
        with self.loaded.change:
            if not job.cancelled and job in self.jobs:
                self.jobs.remove(job)
                self.waiting -= len(job.sizes) - job.begun
            job.cancelled = True

    # In the thread

    def work(self) -> None:
        """Answer some rows."""
        taken, began = self._take(), time.perf_counter()
        if not taken:
            return  # they were cancelled meanwhile
        self.answer(taken)
        rate = len(taken) / (time.perf_counter() - began)
        self.rate = rate if not self.rate else 0.8 * self.rate + 0.2 * rate

    def _take(self) -> list[tuple[AnyJob, int]]:
        """Take some rows: of each request one in turn, so that a large one does not delay the others."""
        taken: list[tuple[AnyJob, int]] = []
        with self.loaded.change:
            if self.limits.wait_ms:
                full = lambda: self.waiting >= self.limits.batch_rows or self.loaded.closed  # noqa: E731
                self.loaded.change.wait_for(full, self.limits.wait_ms / 1000)
            size, room = 0, self.ahead * self.room
            while self.jobs and len(taken) < self.limits.batch_rows and size < room:
                job = self.jobs.popleft()
                taken.append((job, job.begun))
                size += job.sizes[job.begun]
                job.begun += 1
                self.waiting -= 1
                if job.begun < len(job.sizes):
                    self.jobs.append(job)
        return taken
