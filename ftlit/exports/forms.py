"""Forms in which a run is exported, other than folders of transformers."""

from pathlib import Path
from typing import Any, Protocol

from ftlit.data.shared.base import TaskData
from ftlit.exports.folder import Opened
from ftlit.exports.gguf import form as gguf
from ftlit.exports.onnx import form as onnx
from ftlit.exports.program import form as program
from ftlit.tasks import TaskModule


class Form(Protocol):
    """How a task becomes a form. Each is a module with these functions."""

    def reference(self, task: TaskModule, data: TaskData) -> Any:
        """Compute the outputs of a run, after checking that its task can take the form.

        Raises:
            UserError: It cannot, or the data cannot be read.
        """

    def save(self, task: TaskModule, data: TaskData, expected: Any, folder: Path, dtype: str) -> None:
        """Merge the tuning method of a task where that is possible, and write its form.

        Raises:
            UserError: The model cannot be written.
        """

    def check(
        self, expected: Any, task: TaskModule, data: TaskData, folder: Path, work: Path, dtype: str, opened: Opened
    ) -> float:
        """Return the largest difference of a folder's outputs to those of the run, in a process without ftlit and in this one.

        Raises:
            UserError: It is above the tolerance.
        """

    def use(self, task: TaskModule, data: TaskData, expected: Any, folder: Path, scaled: bool) -> str | None:
        """Return a program that uses a folder without ftlit, for its model card, or None."""


FORMS: dict[str, Form] = {"onnx": onnx, "gguf": gguf, "torch": program}
