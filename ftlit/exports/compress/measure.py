"""Measure models in processes of their own, which work in turns, so that a machine that slows down does so for all alike."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ftlit.errors import UserError
from ftlit.exports.compress import worker
from ftlit.exports.compress.evaluate import Evaluated
from ftlit.exports.compress.worker import Task
from ftlit.runs.reading import RunFolder

SIZES = (1, 8, 32)  # rows of a batch
ROUNDS = 4  # turns of each worker
PERCENTILES = (50, 95, 99)
REST = 0.05  # seconds before a turn, in which the threads of the last one fall asleep
ERRORS = "errors.txt"


@dataclass(frozen=True)
class Measured:
    """What a model costs, and what it answers.

    Args:
        memory: Resident bytes of a process that has opened the model and predicted once; None if unknown.
        latency: Milliseconds of a batch by its size: the percentiles of `PERCENTILES`.
        rows_per_second: Rows a second by the size of the batches.
        evaluated: Its metrics and predictions.
    """

    memory: int | None
    latency: dict[int, list[float]]
    rows_per_second: dict[int, float]
    evaluated: Evaluated

    @property
    def speed(self) -> float:
        """Rows a second with the best size of batches."""
        return max(self.rows_per_second.values())


class Process:
    """A worker process.

    Args:
        task: What it works on; its folder for files is made.
    """

    def __init__(self, task: Task) -> None:
        self.work = Path(task.work)
        threads = {name: str(task.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        start = f"import sys; sys.path[:] = {sys.path!r}; from {worker.__name__} import main; main()"  # no present folder first
        command = [sys.executable, "-c", start, task.as_json()]
        with (self.work / ERRORS).open("w") as errors:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            self.process = subprocess.Popen(command, text=True, env={**os.environ, **threads}, **pipes)  # type: ignore[call-overload]

    def ask(self, question: str, **given: Any) -> dict[str, Any]:
        """Ask a question, and wait for its answer.

        Raises:
            UserError: The worker cannot answer.
        """
        try:
            self.process.stdin.write(json.dumps({"question": question, **given}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has said why
        line = self.process.stdout.readline()
        found = json.loads(line) if line else {"error": self._last_words()}
        if "error" in found:
            raise UserError(f"a process that measures has failed: {found['error']}")
        return found

    def _last_words(self) -> str:
        lines = (self.work / ERRORS).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self.process.wait()}; is there enough memory for all models?"

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def running(folders: Mapping[str, Path], task: Task, rows: list[Any]) -> Iterator[dict[str, Process]]:
    """Start a worker for each folder, and end them all.

    Args:
        folders: The folders by the names of their models.
        task: What all have in common; its `work` is the folder in which each gets one of its own.
        rows: The rows to time.
    """
    with ExitStack() as stack:
        started = dict[str, Process]()
        for name, folder in folders.items():
            work = Path(task.work, name)
            work.mkdir(parents=True)
            (work / worker.ROWS).write_text(json.dumps(rows), encoding="utf-8")
            started[name] = Process(replace(task, folder=str(folder), work=str(work)))
            stack.callback(started[name].end)
        yield started


def measure(folders: Mapping[str, Path], task: Task, rows: list[Any]) -> dict[str, Measured]:
    """Measure models side by side.

    Args:
        folders: The folders by the names of their models.
        task: What all have in common.
        rows: The rows to time, the same for all, in batches of 1, 8 and 32.

    Raises:
        UserError: A model cannot be opened, or the data of the run cannot be read.
    """
    with running(folders, task, rows) as workers:
        memory = {name: one.ask("resident")["bytes"] for name, one in workers.items()}
        seconds = timed(workers)
        metrics = {name: one.ask("evaluate")["metrics"] for name, one in workers.items()}
        return {
            name: Measured(
                memory[name],
                {size: [1000 * float(np.percentile(found, p)) for p in PERCENTILES] for size, found in seconds[name].items()},
                {size: len(rows) / sum(found) for size, found in seconds[name].items()},
                Evaluated(metrics[name], RunFolder(one.work).prediction_rows(task.split)),
            )
            for name, one in workers.items()
        }


def timed(workers: Mapping[str, Process]) -> dict[str, dict[int, list[float]]]:
    """The seconds of all batches by worker and size of batch. The workers take turns, each second round in reverse order."""
    found: dict[str, dict[int, list[float]]] = {name: {size: [] for size in SIZES} for name in workers}
    for turn in range(ROUNDS):
        for size in SIZES:
            for name in list(workers)[:: -1 if turn % 2 else 1]:
                time.sleep(REST)
                found[name][size] += workers[name].ask("seconds", size=size, first=turn, step=ROUNDS)["seconds"]
    return found
