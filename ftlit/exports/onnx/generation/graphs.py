"""Write what a folder needs to write texts: the graphs, the settings, and the program that uses them."""

from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ftlit.errors import UserError
from ftlit.exports.merge import set_generation
from ftlit.exports.onnx.generation import generate
from ftlit.exports.onnx.generation.cache import PAST, ROWS
from ftlit.exports.onnx.generation.decoder import write_decoder
from ftlit.exports.onnx.generation.encoder_decoder import write_pair
from ftlit.exports.onnx.graph import UntraceableError, untraceable
from ftlit.exports.traced.tracing import stretched
from ftlit.tasks import TaskModule

PROGRAM = "generate.py"


def check_cache(task: TaskModule) -> None:
    """Check that a model keeps nothing of earlier tokens but their keys and values.

    Raises:
        UserError: It keeps something else, such as a state.
    """
    model = plain(task.model)
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    standard = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    if not standard or "past_key_values" not in signature(model.forward).parameters:
        raise UserError(
            f"--format onnx keeps keys and values of earlier tokens, but {type(model).__name__} keeps something else; leave "
            "--format out, or use --adapter-only"
        )


def write_graphs(task: Any, inputs: dict[str, Tensor], folder: Path) -> None:
    """Write the graphs of a task, after `merge_if_possible`, with its settings and the program that uses them.

    Args:
        task: The task.
        inputs: Arguments of the model, or of its encoder, for some texts.
        folder: The exported folder.

    Raises:
        UserError: The exporter of PyTorch cannot follow the model.
    """
    model = plain(task.model).float().cpu().eval()
    try:
        if model.config.is_encoder_decoder:
            write_pair(model, stretched(inputs, ROWS, PAST), folder)
        else:
            write_decoder(task, model, folder)
    except UntraceableError as error:
        raise untraceable(task) from error
    set_generation(task, model.generation_config, task.generation)
    model.generation_config.save_pretrained(folder)
    model.config.save_pretrained(folder)
    (folder / PROGRAM).write_bytes(Path(generate.__file__).read_bytes())


def plain(model: Any) -> Any:
    """Return a model without the wrapper of peft. Adapters that were not merged stay in its layers."""
    return getattr(model, "get_base_model", lambda: model)()
