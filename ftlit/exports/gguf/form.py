"""Export a language model in GGUF."""

from pathlib import Path

from ftlit.data.shared.base import TaskData
from ftlit.exports.folder import Opened
from ftlit.exports.gguf.verify import verify_gguf
from ftlit.exports.gguf.write import check_gguf, usage, write_gguf
from ftlit.exports.verify import Reference, reference_outputs
from ftlit.tasks import TaskModule


def reference(task: TaskModule, data: TaskData) -> Reference:
    """Compute the outputs of a run, after checking that its model can be written.

    Raises:
        UserError: It cannot, or the data cannot be read.
    """
    check_gguf(task, data)
    return reference_outputs(task, data, "model")


def save(task: TaskModule, data: TaskData, expected: Reference, folder: Path, dtype: str) -> None:
    """Merge the tuning method, and write the file of a task.

    Raises:
        UserError: The tuning method cannot be merged.
    """
    write_gguf(task, data, folder, dtype)


def check(expected: Reference, task: TaskModule, data: TaskData, folder: Path, work: Path, dtype: str, opened: Opened) -> float:
    """Return the largest difference of a file's outputs to those of the run, read by transformers alone.

    Raises:
        UserError: It is above the tolerance, or the file has other tokens.
    """
    return verify_gguf(expected, task, data, folder, work, dtype)


def use(task: TaskModule, data: TaskData, expected: Reference, folder: Path, scaled: bool) -> str:
    """Return a program that uses a folder, for its model card."""
    return usage(hasattr(data, "chat_template"))
