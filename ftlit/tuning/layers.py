"""Which linear layers of a backbone do what, over the names that architectures give them."""

import re
from typing import Literal

from torch import nn

from ftlit.errors import UserError
from ftlit.models.backbones import depths, layer_stack

Role = Literal["key_value", "attention_output", "feedforward_output"]
# Ends of the names in transformers. Attention comes before what follows it: BERT calls both outputs `output.dense`.
ROLES: dict[Role, str] = {
    "key_value": r"\.(key|value|key_proj|value_proj|k_proj|v_proj|k_lin|v_lin|k|v|c_attn|Wqkv|query_key_value)",
    "attention_output": r"(attention\.output\.dense|attention\.out_lin|attn\.(o|o_proj|out_proj|c_proj|Wo)|Attention\.o"
    r"|attention\.dense)",
    "feedforward_output": r"(output\.dense|lin2|mlp\.(down_proj|c_proj|Wo|dense_4h_to_h)|\.wo|fc2)",
}


def linear_layers(backbone: nn.Module) -> list[str]:
    """Names of the backbone's linear layers, but for its pooler and for heads: T5 has its own beside its stacks."""
    kinds = {"Linear", "Conv1D", "Linear4bit", "Linear8bitLt"}  # GPT-2 keeps its weights in transformers' Conv1D
    output = backbone.get_output_embeddings() if hasattr(backbone, "get_output_embeddings") else None  # type: ignore[operator]
    modules = [(name, module) for name, module in backbone.named_modules() if module is not output]
    found = [name for name, module in modules if type(module).__name__ in kinds]
    if getattr(getattr(backbone, "config", None), "is_encoder_decoder", False):
        found = [name for name in found if "." in name]
    return [name for name in found if not {"pooler", "adapter"} & {*name.split(".")}]  # bottlenecks are no layers of it


def linear_names(backbone: nn.Module) -> list[str]:
    """The last parts of the names of the backbone's linear layers, such as ``query`` and ``dense``."""
    return sorted({name.rsplit(".", 1)[-1] for name in linear_layers(backbone)})


def role_of(name: str) -> Role | None:
    """What a linear layer does, or None where it is none of the roles."""
    for role in ("key_value", "attention_output", "feedforward_output"):
        if re.search(ROLES[role] + "$", name):
            return role  # type: ignore[return-value]
    return None


def layers_of(backbone: nn.Module, role: Role, method: str) -> list[str]:
    """Names of the linear layers of a role.

    Args:
        backbone: The backbone.
        role: What the layers do.
        method: The tuning method that asks, for the message.

    Raises:
        UserError: The names of this architecture are not known.
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
    """Names of the linear layers that a method changes.

    Args:
        backbone: The backbone.
        targets: `all-linear`, last parts of names, or regular expressions that match whole names.
        layers: The first and the last layer to change, counted from 0 at the bottom, or None for all.

    Raises:
        UserError: A target is no layer, or the range is none of the backbone's.
    """
    linear = linear_layers(backbone)
    names = [targets] if isinstance(targets, str) else list(targets)
    modules = linear if names == ["all-linear"] else [name for name, _ in backbone.named_modules() if name]
    matched: dict[str, None] = {}
    lost = []
    for target in names:
        found = linear if target == "all-linear" else [name for name in modules if _names(target, name)]
        lost += [] if found else [target]
        matched |= dict.fromkeys(found)
    if lost or not names:
        raise UserError(
            f"model.tuning.targets {lost} are not in {type(backbone).__name__}; "
            f"its linear layers end in {', '.join(linear_names(backbone))}"
        )
    return _within(backbone, list(matched), layers)


def _names(target: str, name: str) -> bool:
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
        raise UserError(f"model.tuning.targets and layers {layers} have no layer of {type(backbone).__name__} in common")
    return inside
