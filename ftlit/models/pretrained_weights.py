"""Check that the files of a model hold the weights that its configuration describes."""

import re
import sys
from typing import Any

from torch import nn

from ftlit.errors import UserError

# Parts inside a backbone that its files may lack: poolers and heads depend on how the model was trained, and an encoder that
# becomes a decoder gets new cross-attention.
REPLACEABLE = re.compile(r"(^|[._])(pooler|\w*head|cross_?attn|crossattention|\w*cross_attn)\.")
LAYER = re.compile(r"^(.*?)\.(\d+)\.")


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
    return name.startswith(f"{prefix}.") if isinstance(getattr(model, prefix, None), nn.Module) else True


def _is_pretrained(model: Any, name: str) -> bool:
    """Whether a weight cannot be another task's: one of the backbone, or of a language model's head."""
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    table = getattr(output, "weight", None)
    return _is_backbone(model, name) or any(weight is table for known, weight in model.named_parameters() if known == name)
