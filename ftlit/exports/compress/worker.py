"""A process that opens one model, and times and evaluates it when it is asked to.

It reads a line of JSON with a question from standard input, and answers with a line of JSON on standard output.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ftlit.errors import user_error
from ftlit.exports.compress.evaluate import evaluate
from ftlit.exports.folder import stored_data
from ftlit.exports.predict import load

ROWS = "rows.json"  # in the folder that parent and workers share
STATUS, RESIDENT = Path("/proc/self/status"), "VmRSS:"


@dataclass(frozen=True)
class Task:
    """What a worker works on.

    Args:
        folder: The run, or an exported folder.
        checkpoint: Path of the run's checkpoint, which names the data.
        split: The split to evaluate.
        work: Folder with the rows to time, and for predictions.
        threads: Number of threads.
        trust_remote_code: Whether to run code that comes with the model.
        trust_classes: Import paths of classes outside ftlit.
    """

    folder: str
    checkpoint: str
    split: str
    work: str
    threads: int
    trust_remote_code: bool = False
    trust_classes: list[str] | None = None

    def as_json(self) -> str:
        """The argument of a worker's command."""
        return json.dumps(asdict(self))


class Worker:
    """Answers questions about a model; the methods without an underscore are the questions."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self._task, self._rows = task, json.loads(Path(task.work, ROWS).read_text("utf-8"))
        trusted = (task.trust_remote_code, task.trust_classes)
        self._predictor = load(task.folder, task.checkpoint, "cpu", *trusted, calibrated=False)

    def resident(self) -> dict[str, Any]:
        """The bytes of memory after a first prediction; None where the system does not tell."""
        self._predictor(self._rows[:1])
        lines = STATUS.read_text().splitlines() if STATUS.is_file() else []
        return {"bytes": next((1024 * int(line.split()[1]) for line in lines if line.startswith(RESIDENT)), None)}

    def seconds(self, size: int, first: int, step: int) -> dict[str, Any]:
        """The seconds of each `step`-th batch from the `first` one, and of one before them that is not counted."""
        starts = range(0, len(self._rows), size)[first::step]
        taken = [self._one(self._rows[start : start + size]) for start in (*starts[:1], *starts)]
        return {"seconds": taken[1:]}

    def _one(self, rows: list[Any]) -> float:
        began = perf_counter()
        self._predictor(rows, len(rows))
        return perf_counter() - began

    def evaluate(self) -> dict[str, Any]:
        """The metrics on the split; the predictions go to the folder of this worker."""
        task = self._task
        data = stored_data(Path(task.checkpoint), task.trust_remote_code)
        return {"metrics": evaluate(self._predictor.model, data, task.split, Path(task.work)).metrics}


def answer(worker: Worker, line: str) -> dict[str, Any]:
    """The answer to a question, or the error of a user."""
    asked = json.loads(line)
    return getattr(worker, asked.pop("question"))(**asked)


def main() -> None:
    """Open the model that the argument describes, and answer until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    try:
        worker = Worker(Task(**json.loads(sys.argv[1])))
        for line in sys.stdin:
            print(json.dumps(answer(worker, line)), file=answers, flush=True)
    except Exception as error:
        if (mistake := user_error(error)) is None:
            raise
        print(json.dumps({"error": str(mistake)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
