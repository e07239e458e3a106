"""Trace the model of a task as a program of torch.export, for any number of texts of any length."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftlit.errors import UserError
from ftlit.exports.program.runtime import silent
from ftlit.exports.program.safety import NAMES
from ftlit.exports.traced.tracing import ROWS, TOKENS, Traced, check_whole_weights, stretched
from ftlit.runs.exported import PROGRAM
from ftlit.tasks import CausalLM, Seq2Seq, TaskModule
from ftlit.util.private import forget_guards


def check_exportable(task: TaskModule) -> None:
    """Check that the outputs of a task can come from one program.

    Raises:
        UserError: They cannot.
    """
    if isinstance(task, CausalLM | Seq2Seq):
        raise UserError(
            f"--format torch writes one program from texts to scores, but {type(task).__name__} writes its answers token by "
            "token; use --format onnx, or leave --format out"
        )
    check_whole_weights(task, "torch")


def write_program(task: TaskModule, inputs: dict[str, Tensor], outputs: list[str], folder: Path) -> None:
    """Write the program of a task, after `merge_if_possible`, and the configuration of its model.

    Args:
        task: The task.
        inputs: Arguments of the model for some texts.
        outputs: Names of its outputs.
        folder: The exported folder.

    Raises:
        UserError: PyTorch cannot follow the model.
    """
    model = task.model.float().cpu().eval().requires_grad_(False)
    rows, tokens = (max(size, least) for size, least in zip(inputs["input_ids"].shape, (ROWS, TOKENS), strict=True))
    example, other = (
        stretched(inputs, *shape) for shape in ((rows, tokens), (rows + 1, tokens - 1 if tokens > TOKENS else tokens + 1))
    )
    sizes: Any = torch.export.AdditionalInputs()  # what differs between both is any number
    sizes.add(tuple(other.values()))
    try:
        with torch.no_grad(), silent():
            program = torch.export.export(Traced(model, [*example], outputs), tuple(example.values()), dynamic_shapes=sizes)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--format torch: PyTorch cannot follow {type(task.model).__name__} with model.tuning "
            f"{type(task.tuning).__name__}; leave --format out"
        ) from error
    _forget_places(program)
    torch.export.save(program, folder / PROGRAM, extra_files={NAMES: json.dumps([[*example], outputs])})
    model.config.save_pretrained(folder)


def _forget_places(program: torch.export.ExportedProgram) -> None:
    """Remove the example, and what PyTorch notes about the code of each step, with the paths of this machine."""
    program.example_inputs = None  # type: ignore[assignment]
    forget_guards(program)
    for node in program.graph.nodes:
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
            node.meta.pop(name, None)
