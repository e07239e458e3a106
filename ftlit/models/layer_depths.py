"""The stack of layers of a backbone, and the depth of each of its parameters."""

from torch import nn

from ftlit.errors import UserError


def layer_stack(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the name and the layers, bottom first, of a backbone's longest ``ModuleList`` that is not inside another one."""
    stacks: list[tuple[str, nn.ModuleList]] = []
    for name, module in backbone.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer, _ in stacks)
        if isinstance(module, nn.ModuleList) and not inside:
            stacks.append((name, module))
    if not stacks:
        raise UserError(f"{type(backbone).__name__} has no stack of layers; use a tuning method that does not need one")
    return max(stacks, key=lambda item: (len(item[1]), -item[0].count(".")))


def depths(backbone: nn.Module) -> dict[str, int]:
    """Return the depth of each parameter: 0 for embeddings, 1 to n for the n layers, n + 1 for modules above them.

    Encoder and decoder layers are counted in parallel, aligned at the top if one has fewer layers.
    """
    if not getattr(getattr(backbone, "config", None), "is_encoder_decoder", False):
        return _stack_depths(backbone)
    depth: dict[str, int] = {}
    top = len(layer_stack(backbone)[1])
    names = [name for name, _ in backbone.named_modules()]
    for part in ("encoder", "decoder"):
        prefix = min((n for n in names if n.split(".")[-1] == part), key=lambda n: n.count("."))
        module = backbone.get_submodule(prefix)
        gap = top - len(layer_stack(module)[1])
        depth |= {f"{prefix}.{name}": d + gap if d else 0 for name, d in _stack_depths(module).items()}
    tables = {f"{name}.weight" for name, module in backbone.named_modules() if isinstance(module, nn.Embedding)}
    beside = {name: 0 if name in tables else top + 1 for name, _ in backbone.named_parameters(remove_duplicate=False)}
    return {name: depth.get(name, other) for name, other in beside.items()}


def _stack_depths(backbone: nn.Module) -> dict[str, int]:
    prefix, stack = layer_stack(backbone)
    beside = prefix[: prefix.rfind(".") + 1]
    tables = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, nn.Embedding))
    depth, found, shared = {}, 0, False
    for name, _ in backbone.named_parameters(remove_duplicate=False):
        if name.startswith(prefix + "."):
            depth[name] = found = int(name[len(prefix) + 1 :].split(".")[0]) + 1
        else:
            # DeBERTa and MPNet register the relative positions that all layers share, and their norm, after the layers. So
            # does BART with the norm of its embeddings.
            near = found > 0 and name.startswith(beside)
            shared = near and (shared or name.startswith(tables))
            depth[name] = len(stack) + 1 if found and not shared and not (near and "embed" in name) else 0
    return depth
