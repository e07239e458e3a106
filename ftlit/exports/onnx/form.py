"""Export a task to ONNX: as one graph from texts to scores, or as graphs that write texts."""

from pathlib import Path

from ftlit.data.shared.base import TaskData
from ftlit.exports.folder import Opened
from ftlit.exports.onnx.generation.example import text_example
from ftlit.exports.onnx.generation.graphs import check_cache, write_graphs
from ftlit.exports.onnx.generation.verify import (
    TextCases,
    reference_texts,
    unfollowed_settings,
    verify_graphs,
    verify_opened_texts,
)
from ftlit.exports.onnx.graph import check_traceable, write_graph
from ftlit.exports.onnx.verify import verify_graph
from ftlit.exports.traced.cases import Cases as GraphCases
from ftlit.exports.traced.cases import reference_cases, verify_opened
from ftlit.exports.traced.example import example
from ftlit.exports.traced.tracing import merge_if_possible
from ftlit.tasks import CausalLM, Seq2Seq, TaskModule

Cases = GraphCases | TextCases


def reference(task: TaskModule, data: TaskData) -> Cases:
    """Compute the outputs of a run, after checking that its task can become a graph.

    Raises:
        UserError: It cannot, or the data cannot be read.
    """
    check_traceable(task)
    if not isinstance(task, CausalLM | Seq2Seq):
        return reference_cases(task, data)
    check_cache(task)
    return reference_texts(task, data)


def save(task: TaskModule, data: TaskData, expected: Cases, folder: Path, dtype: str) -> None:
    """Merge the tuning method where that is possible, and write the graphs of a task.

    Raises:
        UserError: The exporter of PyTorch cannot follow the model.
    """
    merge_if_possible(task)
    if isinstance(expected, TextCases):
        write_graphs(task, expected.inputs[0], folder)
        if names := unfollowed_settings(folder):
            print(f"note: generate.py in the folder does not follow {', '.join(names)} of model.generation; ftlit.load does")
    else:
        write_graph(task, expected.inputs[0], [*expected.outputs[0]], folder)


def check(expected: Cases, task: TaskModule, data: TaskData, folder: Path, work: Path, dtype: str, opened: Opened) -> float:
    """Return the largest difference of a folder's outputs to those of the run: without PyTorch, and by `ftlit.load`.

    Raises:
        UserError: It is above the tolerance.
    """
    if isinstance(expected, TextCases):
        return max(verify_graphs(expected, task, folder, work), verify_opened_texts(expected, folder, *opened()))
    return max(verify_graph(expected, folder, work), verify_opened(expected, *opened()))


def use(task: TaskModule, data: TaskData, expected: Cases, folder: Path, scaled: bool) -> str | None:
    """Return a program that uses a folder without PyTorch, for its model card, or None."""
    if isinstance(expected, TextCases):
        return text_example(task, data, expected, unfollowed_settings(folder))
    return example(task, data, expected, scaled)
