"""Begin a smaller model from some of the layers of a pretrained one, as for a student of a larger model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from ftlit.errors import UserError
from ftlit.models.layer_depths import layer_stack

SIMPLE = bool | int | float | str | None
NUMBERS = {"layer_idx", "layer_id"}  # attributes in which a layer or a part of it holds its own number
COUNTS = {"n_layer", "n_layers", "num_layers", "num_hidden_layers"}  # and in which what is around them holds theirs


def fewer_layers(config: PretrainedConfig, kept: list[int], backbone: str) -> dict[str, Any]:
    """Return the changes to a model's configuration with which it has only some of its layers.

    Args:
        config: The configuration of the whole model.
        kept: Numbers of the layers to keep, from 0 at the bottom.
        backbone: Name of the model, for the message.

    Raises:
        UserError: The model has no such layers, or more than one stack of layers.
    """
    count = getattr(config, "num_hidden_layers", None)
    if config.is_encoder_decoder or count is None or config.get_text_config() is not config:
        raise UserError(
            f"model.keep_layers chooses from a single stack of layers, but model.backbone {backbone!r} ({config.model_type}) "
            "has more than one, or none that its config.json counts; leave it out, or choose another backbone"
        )
    if not kept or sorted({*kept}) != kept or not 0 <= kept[0] <= kept[-1] < count:
        raise UserError(
            f"model.keep_layers must name layers of model.backbone {backbone!r} in ascending order, each once, from 0 to "
            f"{count - 1}, got {kept}"
        )
    settings = {name: value for name, value in config.to_dict().items() if "layer" in name and isinstance(value, list)}
    of_each = {name: [value[i] for i in kept] for name, value in settings.items() if len(value) == count}
    return {"num_hidden_layers": len(kept), **of_each}


def keep_layers(
    model: Any, new: list[nn.Parameter], kept: list[int], changes: dict[str, Any], build: Callable[[], nn.Module]
) -> list[nn.Parameter]:
    """Remove the other layers of a model.

    Args:
        model: The whole model, which is changed in place.
        new: Its newly initialized weights.
        kept: Numbers of the layers to keep.
        changes: The changes to its configuration, from `fewer_layers`.
        build: Builds a model of the changed configuration, which is what the model will be when it is opened again.

    Returns:
        The newly initialized weights that are left.

    Raises:
        UserError: The model would be another one then.
    """
    backbone = getattr(model, model.base_model_prefix, model)
    prefix, stack = layer_stack(backbone)
    if len(stack) <= kept[-1]:
        raise UserError(
            f"model.keep_layers does not fit {type(backbone).__name__}, whose layers share their weights; leave it out"
        )
    owner, _, name = prefix.rpartition(".")
    setattr(backbone.get_submodule(owner), name, nn.ModuleList([stack[i] for i in kept]))
    for config in {id(part.config): part.config for part in (model, backbone)}.values():
        config.update(changes)
    _renumber(model, layer_stack(backbone)[1], len(stack))
    with torch.device("meta"):
        smaller = build()
    if (changed := _first_difference(_settings(model), _settings(smaller))) is not None:
        raise UserError(
            f"model.keep_layers {kept} does not fit {type(backbone).__name__}: by its number, a layer would have another "
            f"{changed}; keep other layers"
        )
    left = {id(weight) for weight in model.parameters()}
    return [weight for weight in new if id(weight) in left]


def _renumber(model: nn.Module, layers: nn.ModuleList, whole: int) -> None:
    """Correct the numbers of the layers, and their count where a part of the model around them holds it."""
    for new, layer in enumerate(layers):
        for part in layer.modules():
            for number in NUMBERS & vars(part).keys():
                setattr(part, number, new)
    inside = {id(part) for part in layers.modules()}
    for part in model.modules():
        for count in COUNTS & vars(part).keys():
            if id(part) not in inside and getattr(part, count) == whole:
                setattr(part, count, len(layers))


def _settings(model: nn.Module) -> dict[str, dict[str, Any]]:
    """What each module of a model has taken from the configuration and its place, by the module's name."""
    simple = {
        name: [item for item in vars(part).items() if isinstance(item[1], SIMPLE)] for name, part in model.named_modules()
    }
    return {name: {key: value for key, value in items if key != "training"} for name, items in simple.items()}


def _first_difference(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> str | None:
    """The name of a module that only one model has, or of a setting that both have with different values."""
    if lonely := one.keys() ^ other.keys():
        return min(lonely)
    both = ((name, key) for name, own in one.items() for key in own.keys() & other[name].keys())
    return min((f"{name}.{key}" for name, key in both if one[name][key] != other[name][key]), default=None)
