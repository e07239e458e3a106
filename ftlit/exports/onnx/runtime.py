"""Run a graph of ONNX."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ftlit.errors import UserError
from ftlit.util.files import damaged

GRAPH = "model.onnx"
QUIET = 3  # the level of errors
# Without instructions for 8 bits, sums of products of 8 bits could overflow: ONNX Runtime then takes slower ones that do not.
SAFE_SUMS = "session.x64quantprecision"


def require_onnx(*names: str) -> list[ModuleType]:
    """Import packages of the extra `onnx`.

    Raises:
        UserError: One is missing.
    """
    from importlib import import_module

    try:
        return [import_module(name) for name in names]
    except ImportError as error:
        raise UserError(
            f"ONNX needs the package {error.name}, which is missing; install it with: pip install -e '.[onnx]'"
        ) from error


class OnnxGraph:
    """A graph of ONNX with the names of its inputs and outputs; it runs on the CPU.

    Args:
        file: The graph.
    """

    own_threads = True

    def __init__(self, file: Path) -> None:
        self.session = start_session(file)
        self.inputs = [given.name for given in self.session.get_inputs()]
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return the outputs in their order for arguments by their names."""
        found = self.session.run(None, {name: value.cpu().numpy() for name, value in inputs.items()})
        return [torch.from_numpy(value) for value in found]


def start_session(file: Path) -> Any:
    """Open a graph on the CPU, with as many threads as PyTorch uses.

    Raises:
        UserError: ONNX Runtime is not installed, or cannot read the file.
    """
    [runtime] = require_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), QUIET
    options.add_session_config_entry(SAFE_SUMS, "1")
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of its errors have no other base in common
        raise damaged(file, str(error).splitlines()[0]) from error
