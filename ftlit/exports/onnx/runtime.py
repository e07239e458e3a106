"""Run a graph of ONNX in place of the model of a task."""

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.util.files import damaged

GRAPH, SEGMENTS = "model.onnx", "token_type_ids"  # which models of transformers take for zeros where they are not given
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


class OnnxBackbone(nn.Module):
    """A graph of ONNX that is called like a backbone of transformers.

    Its ``last_hidden_state`` is the first output of the graph, so that code that chooses tokens between backbone and head,
    such as that of language models, chooses among their logits.

    Args:
        file: The graph.
        table: Embeddings of the model, for their number alone.
        config: Configuration of the model.
    """

    def __init__(self, file: Path, table: nn.Embedding, config: Any) -> None:
        super().__init__()
        self.session, self.config = start_session(file), config
        self.first, *self.others = (output.name for output in self.session.get_outputs())
        self.needed = {given.name for given in self.session.get_inputs()}
        self._tables = [table]  # not a part of the module, since its weights have no memory

    def get_input_embeddings(self) -> nn.Embedding:
        """Return a table with the size of the embeddings."""
        return self._tables[0]

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """Return the outputs of the graph for tensors with the names of its inputs."""
        if SEGMENTS in self.needed - inputs.keys():
            inputs[SEGMENTS] = torch.zeros_like(inputs["input_ids"])
        found = self.session.run(None, {name: value.cpu().numpy() for name, value in inputs.items()})
        device = next(iter(inputs.values())).device
        first, *others = (torch.from_numpy(value).to(device) for value in found)
        return SimpleNamespace(last_hidden_state=first, **dict(zip(self.others, others, strict=True)))


class OnnxModel(nn.Module):
    """A graph of ONNX that is called like the model from which it was made, and returns outputs of the same names.

    Args:
        file: The graph.
        model: That model; its weights are not used.
    """

    base_model_prefix = "backbone"

    def __init__(self, file: Path, model: Any) -> None:
        super().__init__()
        base = getattr(model, model.base_model_prefix, model)
        self.backbone, self.config = OnnxBackbone(file, base.get_input_embeddings(), model.config), model.config

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """Return the outputs of the graph for tensors with the names of its inputs."""
        found = vars(self.backbone(**inputs))
        return SimpleNamespace(**{self.backbone.first: found.pop("last_hidden_state"), **found})


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
