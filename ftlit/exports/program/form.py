"""Export a task as a program of torch.export."""

from pathlib import Path

from ftlit.data.shared.base import TaskData
from ftlit.exports.folder import Opened
from ftlit.exports.program.graph import check_exportable, write_program
from ftlit.exports.program.verify import verify_program
from ftlit.exports.traced.cases import Cases, reference_cases, verify_opened
from ftlit.exports.traced.example import example
from ftlit.exports.traced.tracing import merge_if_possible
from ftlit.runs.exported import EXAMPLE
from ftlit.tasks import TaskModule


def reference(task: TaskModule, data: TaskData) -> Cases:
    """Compute the outputs of a run, after checking that its task can become a program.

    Raises:
        UserError: It cannot, or the data cannot be read.
    """
    check_exportable(task)
    return reference_cases(task, data)


def save(task: TaskModule, data: TaskData, expected: Cases, folder: Path, dtype: str) -> None:
    """Merge the tuning method where that is possible, and write the program of a task.

    Raises:
        UserError: PyTorch cannot follow the model.
    """
    merge_if_possible(task)
    write_program(task, expected.inputs[0], [*expected.outputs[0]], folder)


def check(expected: Cases, task: TaskModule, data: TaskData, folder: Path, work: Path, dtype: str, opened: Opened) -> float:
    """Return the largest difference of a program's outputs to those of the run: with PyTorch alone, and by `ftlit.load`.

    Raises:
        UserError: It is above the tolerance.
    """
    return max(verify_program(expected, folder, work), verify_opened(expected, *opened()))


def use(task: TaskModule, data: TaskData, expected: Cases, folder: Path, scaled: bool) -> str | None:
    """Return a program that predicts with a folder, for its model card, and write it into the folder; or None."""
    code = example(task, data, expected, scaled, "torch")
    if code is not None:
        (folder / EXAMPLE).write_text(code + "\n", encoding="utf-8")
    return code
