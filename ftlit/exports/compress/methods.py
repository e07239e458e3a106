"""The names of the methods that make a run smaller or faster, and what they do."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftlit.errors import UserError, near
from ftlit.exports.onnx.runtime import require_onnx
from ftlit.runs.files import CONFIG

ORIGINAL = "original"  # the run itself, the first rung of every ladder


@dataclass(frozen=True)
class Method:
    """How a run is made smaller or faster without training.

    Args:
        text: What runs the model, and with which weights.
        bits: Data type or size of the weights, for the model card.
        onnx: Whether it is a graph of ONNX.
    """

    text: str
    bits: str
    onnx: bool = False


METHODS = {
    "onnx": Method("ONNX Runtime, weights in float32", "float32", onnx=True),
    "onnx-int8": Method("ONNX Runtime, weights of 8 bits, inputs of layers rounded to 8 bits at each batch", "int8", onnx=True),
    "onnx-int4": Method("ONNX Runtime, matrices of 4 bits in blocks of 32, embeddings of 8 bits", "int4", onnx=True),
    "bf16": Method("PyTorch, weights in bfloat16", "bfloat16"),
    "fp16": Method("PyTorch, weights in float16", "float16"),
    "int8": Method("PyTorch, weights of 8 bits, inputs of layers rounded to 7 bits at each batch", "int8"),
}
# Methods that train, with the options of `fit` that they take.
TRAININGS = {
    "distil": ["--model.teacher", "{run}", "--model.loss", "Distillation", "--model.keep_layers", "[0, 2, 4]"],
    "drop-layers": ["--model.keep_layers", "[0, 2, 4]"],
}


def chosen_methods(given: Sequence[str]) -> list[str]:
    """Check the names of methods, and return each once, in the given order.

    Raises:
        UserError: There are none, one is unknown, or a package is missing.
    """
    if not given:
        raise UserError(f"compress needs a method: add --method onnx-int8, or another of {', '.join([*METHODS, *TRAININGS])}")
    names = [name for name in dict.fromkeys(given) if name != ORIGINAL]  # which is always there
    for name in names:
        if name not in METHODS and name not in TRAININGS:
            raise UserError(f"there is no --method {name!r}. {near(name, [*METHODS, *TRAININGS])}")
    if any(name in METHODS and METHODS[name].onnx for name in names):
        require_onnx("onnx", "onnxscript", "onnxruntime")
    return names


def training_text(method: str, run: Path) -> str:
    """A sentence with the command that does what a method needs training for."""
    student = run.with_name(f"{run.name}-{method}")
    options = [option.format(run=run) for option in TRAININGS[method]]
    command = ["python", "-m", "ftlit", "fit", "--config", str(run / CONFIG), "--run_dir", str(student), *options]
    return (
        f"{method} is a training, of a model with three of the layers, say:\n  {shlex.join(command)}\n"
        f"Then compress {student}. See docs/distillation.md."
    )
