"""Find the linear layers of a backbone by their role, from their names in the architectures."""

import re
from typing import Literal

from torch import nn

from ftlit.errors import UserError
from ftlit.models.checks.weights import UNUSED
from ftlit.models.layer_depths import depths, layer_stack

Role = Literal["key_value", "attention_output", "feedforward_output"]
# Suffixes of layer names in transformers. Attention is matched before feed-forward: BERT names both outputs `output.dense`.
ROLES: dict[Role, str] = {
    "key_value": r"\.(key|value|key_proj|value_proj|k_proj|v_proj|k_lin|v_lin|k|v|c_attn|Wqkv|query_key_value)",
    "attention_output": r"(attention\.output\.dense|attention\.out_lin|attn\.(o|o_proj|out_proj|c_proj|Wo)|Attention\.o"
    r"|attention\.dense)",
    "feedforward_output": r"(output\.dense|lin2|mlp\.(down_proj|c_proj|Wo|dense_4h_to_h)|\.wo|fc2)",
}


def linear_layers(backbone: nn.Module) -> list[str]:
    """Names of the backbone's linear layers in use, without its pooler and heads (T5 keeps a head next to its stacks)."""
    kinds = {"Linear", "Conv1D", "Linear4bit", "Linear8bitLt"}  # GPT-2 keeps its weights in transformers' Conv1D
    output = backbone.get_output_embeddings() if hasattr(backbone, "get_output_embeddings") else None  # type: ignore[operator]
    modules = [(name, module) for name, module in backbone.named_modules() if module is not output]
    found = [n for n, module in modules if type(module).__name__ in kinds and not hasattr(module.weight, UNUSED)]
    if getattr(getattr(backbone, "config", None), "is_encoder_decoder", False):
        found = [name for name in found if "." in name]
    return [name for name in found if not {"pooler", "adapter"} & {*name.split(".")}]  # without bottleneck adapters


def linear_names(backbone: nn.Module) -> list[str]:
    """Last components of the names of the backbone's linear layers, such as ``query`` and ``dense``."""
    return sorted({name.rsplit(".", 1)[-1] for name in linear_layers(backbone)})


def role_of(name: str) -> Role | None:
    """Return the role of a linear layer, or None if it has no known role."""
    for role in ("key_value", "attention_output", "feedforward_output"):
        if re.search(ROLES[role] + "$", name):
            return role  # type: ignore[return-value]
    return None


def layers_of(backbone: nn.Module, role: Role, method: str) -> list[str]:
    """Return the names of the linear layers with a role.

    Args:
        backbone: The backbone.
        role: Role of the layers.
        method: Name of the tuning method, for the error message.

    Raises:
        UserError: If the backbone has no layer known to have this role.
    """
    prefixes = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, nn.ModuleList))
    found = [name for name in linear_layers(backbone) if role_of(name) == role and name.startswith(prefixes)]
    if not found:
        raise UserError(
            f"{method} does not know which layers of {type(backbone).__name__} are its {role.replace('_', ' ')}; "
            f"its linear layers end in {', '.join(linear_names(backbone))}; use LoRA, or Peft with target_modules"
        )
    return found


def chosen_layers(backbone: nn.Module, targets: str | list[str], layers: list[int] | None) -> list[str]:
    """Return the names of the linear layers that a method modifies.

    Args:
        backbone: The backbone.
        targets: `all-linear`, last components of layer names, or regular expressions that match full names.
        layers: First and last layer to modify, counted from 0 at the bottom, or None for all layers.

    Raises:
        UserError: If a target matches no layer, or `layers` is not a range of the backbone's layers.
    """
    linear = linear_layers(backbone)
    names = [targets] if isinstance(targets, str) else list(targets)
    modules = linear if names == ["all-linear"] else [name for name, _ in backbone.named_modules() if name]
    matched: dict[str, None] = {}
    unmatched = []
    for target in names:
        found = linear if target == "all-linear" else [name for name in modules if _matches(target, name)]
        unmatched += [] if found else [target]
        matched |= dict.fromkeys(found)
    if unmatched or not names:
        raise UserError(
            f"model.tuning.targets {unmatched} are not in {type(backbone).__name__}; "
            f"its linear layers end in {', '.join(linear_names(backbone))}"
        )
    return _within(backbone, list(matched), layers)


def _matches(target: str, name: str) -> bool:
    if name == target or name.endswith("." + target):
        return True
    try:
        return re.fullmatch(target, name) is not None
    except re.error:
        return False


def _within(backbone: nn.Module, names: list[str], layers: list[int] | None) -> list[str]:
    if layers is None:
        return names
    count = len(layer_stack(backbone)[1])
    if len(layers) != 2 or not 0 <= layers[0] <= layers[1] < count:
        raise UserError(
            f"model.tuning.layers should be the first and the last layer, from 0 to {count - 1} in "
            f"{type(backbone).__name__}, got {layers}"
        )
    depth = depths(backbone)
    inside = [name for name in names if any(layers[0] < depth[w] <= layers[1] + 1 for w in depth if w.startswith(f"{name}."))]
    if not inside:
        raise UserError(f"model.tuning.targets matches no layer of {type(backbone).__name__} within layers {layers}")
    return inside
