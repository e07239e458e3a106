"""Trace the model of a task as a graph of ONNX, with any number of texts of any length."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.exports.onnx.runtime import GRAPH, require_onnx
from ftlit.exports.traced.tracing import ROWS, TOKENS, Traced, check_whole_weights, stretched
from ftlit.tasks import TaskModule

OPSET = 20


def check_traceable(task: TaskModule) -> None:
    """Check that the outputs of a task can come from graphs.

    Raises:
        UserError: They cannot, or a package is missing.
    """
    require_onnx("onnx", "onnxscript", "onnxruntime")
    check_whole_weights(task, "onnx")


def write_graph(task: TaskModule, inputs: dict[str, Tensor], outputs: list[str], folder: Path) -> None:
    """Write the graph of a task, after `merge_if_possible`, and the configuration of its model.

    Args:
        task: The task.
        inputs: Arguments of the model for some texts.
        outputs: Names of its outputs.
        folder: The exported folder.

    Raises:
        UserError: The exporter of PyTorch cannot follow the model.
    """
    model = task.model.float().cpu().eval()
    example = stretched(inputs, max(len(inputs["input_ids"]), ROWS), max(inputs["input_ids"].shape[1], TOKENS))
    try:
        trace(model, example, outputs, _dynamic_sizes(example), folder / GRAPH)
    except UntraceableError as error:
        raise untraceable(task) from error
    model.config.save_pretrained(folder)


class UntraceableError(Exception):
    """The exporter of PyTorch cannot follow a model."""


def trace(
    model: nn.Module,
    example: dict[str, Tensor],
    outputs: list[str],
    sizes: tuple[Any, ...],
    file: Path,
    tied: bool = False,
) -> None:
    """Write the graph of a model to a file.

    Args:
        model: The model.
        example: Its arguments, of which no size that may change is 1.
        outputs: Names of its outputs.
        sizes: The dimensions of each argument that may change.
        file: The file.
        tied: Whether an output layer that is the table of embeddings, too, is stored once.

    Raises:
        UntraceableError: The exporter of PyTorch cannot follow the model.
    """
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                Traced(model, [*example], outputs),
                tuple(example.values()),
                input_names=[*example],
                output_names=outputs,
                dynamic_shapes=(sizes,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.UnsupportedOperatorError) as error:
        raise UntraceableError from error
    assert program is not None
    shapes: list[Any] = [value.shape for value in program.model.graph.inputs]
    if any(isinstance(shape[axis], int) for shape, axes in zip(shapes, sizes, strict=True) for axis in axes):
        raise UntraceableError  # it would take texts of the example's number or length only
    _forget_places(program)
    if tied:
        _store_once(program.model.graph)
    program.save(file)  # with the weights beside it above 1.5 GB


def untraceable(task: TaskModule) -> UserError:
    """The error about a model that cannot become a graph."""
    return UserError(
        f"--format onnx: the exporter of PyTorch cannot follow {type(task.model).__name__} with model.tuning "
        f"{type(task.tuning).__name__}; leave --format out, or use --adapter-only"
    )


def _dynamic_sizes(inputs: dict[str, Tensor]) -> tuple[dict[int, Any], ...]:
    batch, tokens, shape = torch.export.Dim("batch"), torch.export.Dim("tokens"), inputs["input_ids"].shape
    return tuple({0: batch, 1: tokens} if value.shape == shape else {0: batch} for value in inputs.values())


def _store_once(graph: Any) -> None:
    """Let products with the transpose of a table of embeddings, which the exporter writes beside it, read the table."""
    [ir] = require_onnx("onnx_ir")
    matrices = {name: value for name, value in graph.initializers.items() if len(value.shape) == 2}
    tables = [value for value in matrices.values() if any(node.op_type == "Gather" for node in value.consumers())]
    for name, value in matrices.items():
        for table in tables:
            if [*value.shape] != [*table.shape][::-1] or value in tables:
                continue
            if np.array_equal(value.const_value.numpy(), table.const_value.numpy().T):
                turned = ir.node("Transpose", [table], {"perm": [1, 0]})
                graph.insert_before(value.consumers()[0], turned)
                value.replace_all_uses_with(turned.outputs[0])
                del graph.initializers[name]
                break


def _forget_places(program: Any) -> None:
    """Remove what the exporter notes about the code of each operator, with the paths of this machine."""
    for graph in (program.model.graph, *(function.graph for function in program.model.functions.values())):
        for node in graph.all_nodes():
            node.metadata_props.clear()
    program.model.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what the exporter says of packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
