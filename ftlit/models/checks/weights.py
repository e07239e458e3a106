"""The weights of a model: whether its files hold those that its configuration describes, and which of them no text reaches."""

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from inspect import signature
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from ftlit.errors import UserError
from ftlit.util.cache import remembered

# Parts inside a backbone that its files may lack: poolers and heads depend on how the model was trained, and an encoder that
# becomes a decoder gets new cross-attention.
REPLACEABLE = re.compile(r"(^|[._])(pooler|\w*head|cross_?attn|crossattention|\w*cross_attn)\.")
LAYER = re.compile(r"^(.*?)\.(\d+)\.")
UNUSED = "ftlit_unused"  # attribute of a weight that no text reaches, such as LUKE's embeddings of entities
_FOUND: dict[tuple[type, str], set[str]] = {}  # by class and configuration, since it takes a moment


def check_weights(model: Any, missing: set[str], mismatched: dict[str, tuple[Any, Any]], backbone: str) -> None:
    """Check that a model was loaded whole. Only a head may be missing in the files, or have another shape there.

    Args:
        model: The loaded model.
        missing: Names of weights that the files lack.
        mismatched: Shapes of weights, in the files and by the configuration, where they differ.
        backbone: Name of the model, for the message.

    Raises:
        UserError: Weights of the backbone are missing or have other shapes, with their names.
    """
    own = {name for name, _ in model.named_parameters()}
    if wrong := sorted(name for name in own & mismatched.keys() if _is_pretrained(model, name)):
        there, here = mismatched[wrong[0]]
        raise UserError(
            f"model.backbone {backbone!r}: config.json does not describe its weights: {len(wrong)} have other shapes, such as "
            f"{wrong[0]} with {tuple(there)} in the files and {tuple(here)} by config.json; use the config.json that belongs "
            "to these weights"
        )
    lost = sorted(name for name in own & missing if _is_backbone(model, name) and not REPLACEABLE.search(name))
    if lost:
        raise UserError(
            f"model.backbone {backbone!r}: its files lack {len(lost)} weights that config.json describes, such as {lost[0]}; "
            "only a head may be missing: use the whole model, or the config.json of these weights"
        )


def say_unused_layers(model: Any, unexpected: set[str], backbone: str) -> None:
    """Say on the screen that the files hold more layers than the configuration uses."""
    start = f"{model.base_model_prefix}."
    used = {found[1].removeprefix(start) for name, _ in model.named_parameters() if (found := LAYER.match(name))}
    matches = [found for name in unexpected if (found := LAYER.match(name))]
    layers = {found[0] for found in matches if found[1].removeprefix(start) in used}
    if layers:
        first = min(layers)
        print(
            f"note: {backbone!r} holds {len(layers)} more layers than its config.json describes, such as {first[:-1]}; "
            "they are left out",
            file=sys.stderr,
            flush=True,
        )


def _is_backbone(model: Any, name: str) -> bool:
    prefix = model.base_model_prefix
    if isinstance(getattr(model, prefix, None), nn.Module):
        return name.startswith(f"{prefix}.")
    return not isinstance(getattr(model, name.split(".")[0]), nn.Linear)  # T5's heads are beside its stacks


def _is_pretrained(model: Any, name: str) -> bool:
    """Whether a weight cannot be another task's: one of the backbone, or of a language model's head."""
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    table = getattr(output, "weight", None)
    return _is_backbone(model, name) or any(weight is table for known, weight in model.named_parameters() if known == name)


# Weights that no text reaches stay as they are with every tuning method


def unused_weights(model: Any) -> set[str]:
    """Return the names of the weights on which the outputs for texts do not depend; the parts of own heads are not looked at.

    Args:
        model: A task's model without values: on the device ``meta``, computing costs nothing.
    """
    prefix = model.base_model_prefix
    whole = isinstance(model, PreTrainedModel)
    part = model if whole else getattr(model, prefix)
    key = (type(part), part.config.to_json_string(use_diff=False))
    if key not in _FOUND:
        _FOUND[key] = _found(part, *key)
    return _FOUND[key] if whole else {f"{prefix}.{name}" for name in _FOUND[key]}


def _found(model: Any, kind: type, config: str) -> set[str]:
    """The names for a class and configuration, from an earlier start if the class belongs to transformers and cannot change."""
    if kind.__module__.startswith("transformers."):
        settings = ["unused weights", transformers.__version__, torch.__version__, f"{kind.__module__}.{kind.__name__}", config]
        with suppress(OSError, UserError):  # there may be no place to write
            return set(remembered(settings, lambda: {"names": sorted(_without_gradient(model))})["names"])
    return _without_gradient(model)


def _without_gradient(model: Any) -> set[str]:
    model = model.to("meta").eval()  # XLNet makes some weights on the CPU
    for inputs in _inputs(model):
        try:
            _total(model(**inputs)).backward()
        except Exception:  # it looks at values, or at a mask of another shape
            model.zero_grad()
            continue
        return {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}
    return set()


def _inputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inputs of two texts. Models look at the values of different kinds of masks."""
    ids = torch.zeros(2, 8, dtype=torch.long, device="meta")
    accepted = signature(model.forward).parameters
    others = {name: ids for name in ("token_type_ids", "decoder_input_ids") if name in accepted}
    for mask in (torch.ones_like(ids), torch.ones(2, 1, 8, 8, dtype=torch.bool, device="meta"), None):
        yield {"input_ids": ids, **others, **({} if mask is None else {"attention_mask": mask})}


def _total(output: Any) -> Tensor:
    values = {name: value for name, value in output.items() if isinstance(value, Tensor) and value.requires_grad}
    logits = [value.sum() for name, value in values.items() if name.endswith("logits")]
    return torch.stack(logits or [values["last_hidden_state"].sum()]).sum()


def keep_unused(model: nn.Module, names: set[str], fresh: list[nn.Parameter]) -> list[nn.Parameter]:
    """Freeze unused weights, and return the newly initialized ones among the others.

    An unused weight that is new becomes zero, so that it is the same whenever the model is built.
    """
    unused = {id(weight): weight for name, weight in model.named_parameters() if name in names}
    random = {id(weight) for weight in fresh}
    for key, weight in unused.items():
        setattr(weight, UNUSED, True)
        weight.requires_grad_(False)
        if key in random:
            nn.init.zeros_(weight)
    return [weight for weight in fresh if id(weight) not in unused]
