"""A PyTorch model whose matrices have 8 bits, for CPUs: how its weights are rounded, saved and loaded.

Each row of a matrix has a scale of its own. Inputs of linear layers are rounded while the model runs, each batch with its own
scale and to 7 bits, so that sums of products do not overflow on processors without instructions for 8 bits.
"""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ftlit.models.speed.linear import FastLinear
from ftlit.util.files import damaged

WEIGHTS, SCALE = "model_int8.safetensors", ".weight_scale"
LARGEST = 127  # of 8 bits
LAYERS = (nn.Linear, FastLinear, nn.Embedding)  # not others that derive from these, which may use their weights differently


class Int8Linear(nn.Module):
    """A linear layer with a matrix of 8 bits.

    Args:
        weight: The rounded matrix, ``(outputs, inputs)``.
        scale: What one step of each row stands for, ``(outputs,)``.
        bias: The bias, ``(outputs,)``, or None.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.packed = _packed(weight, scale, bias)
        self.weight = weight[:0]  # without values; models such as T5 ask for its type

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs in float32, ``(..., outputs)``."""
        return torch.ops.quantized.linear_dynamic(inputs.float(), self.packed, True)  # True: 7 bits


def _packed(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Any:
    """Order a matrix as the processor's kernel wants it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensors of 8 bits will have another form in a later version of PyTorch
        zeros = torch.zeros(len(scale), dtype=torch.long)
        matrix = torch.quantize_per_channel(weight * scale[:, None], scale, zeros, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(matrix, bias)


class Int8Embedding(nn.Module):
    """Embeddings with 8 bits, of which those that are looked up become float32.

    Args:
        weight: The rounded table, ``(tokens, width)``.
        scale: What one step of each row stands for, ``(tokens,)``.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight.shape
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings of token ids, ``(..., width)``."""
        return self.weight[ids].float() * self.scale[ids, None]


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to 8 bits, and return it with the scale of each row."""
    scale = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
    return (weight / scale[:, None]).round().to(torch.int8), scale


def save_int8(model: nn.Module, folder: Path) -> None:
    """Save the weights of a model with 8 bits where they are those of linear layers or embeddings.

    Weights that two layers share keep their precision, and are saved once.
    """
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    layers = {f"{name}.weight" for name, part in model.named_modules() if type(part) in LAYERS}
    found, seen = dict[str, Tensor](), set[int]()
    for name, weight in model.state_dict(keep_vars=True).items():
        if name in layers and uses[id(weight)] == 1:
            found[name], found[name.removesuffix(".weight") + SCALE] = rounded(weight.detach().float())
        elif id(weight) not in seen:
            found[name] = weight.detach().clone().contiguous()
        seen.add(id(weight))
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})


def load_int8(model: Any, folder: Path) -> Any:
    """Replace layers of a model by those that were saved with 8 bits, and load its other weights.

    Args:
        model: A model of the same architecture.
        folder: The exported folder.

    Raises:
        UserError: The weights are missing, or do not belong to the model.
    """
    if not (file := folder / WEIGHTS).is_file():
        raise damaged(folder, f"it has no {WEIGHTS}")
    state = load_file(file)
    try:
        for name in [key.removesuffix(SCALE) for key in state if key.endswith(SCALE)]:
            _replace_layer(model, name, state)
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise damaged(file, "its weights do not belong to the model") from error
    shared = {id(weight) for name, weight in model.state_dict(keep_vars=True).items() if name in state}
    if unexpected or any(id(model.get_parameter(name)) not in shared for name in missing):
        raise damaged(file, "its weights do not belong to the model")
    return model


def _replace_layer(model: nn.Module, name: str, state: dict[str, Tensor]) -> None:
    """Replace a layer, and take its weights out of a state."""
    part: Any = model.get_submodule(name)
    weight, scale = state.pop(f"{name}.weight"), state.pop(name + SCALE)
    if part.weight.shape != weight.shape:
        raise KeyError(name)
    linear = isinstance(part, nn.Linear)
    made = Int8Linear(weight, scale, state.pop(f"{name}.bias", None)) if linear else Int8Embedding(weight, scale)
    model.set_submodule(name, made)
    if not linear:
        state |= {f"{name}.weight": weight, f"{name}.scale": scale}
