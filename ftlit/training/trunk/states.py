"""The hidden states that a trunk returns, and the hash of what they depend on."""

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.models.layer_depths import depths, layer_stack
from ftlit.models.replay import observed
from ftlit.training.stored.canonical import Passes
from ftlit.training.stored.filling import Values
from ftlit.tuning.trunk import Trunk
from ftlit.util.private import rows_hash


@torch.no_grad()
def states(passes: Passes, batch: dict[str, Any]) -> tuple[list[int], Tensor]:
    """The number of tokens of each example of a batch, and the states of all tokens, ``(tokens, width)``."""
    hidden = observed(passes.task.stages.trunk.layers, lambda: passes.run(batch)).hidden
    assert hidden is not None
    mask = batch["attention_mask"].bool()
    texts = passes.task.text_counts(batch)
    tokens = mask.sum(1).cpu()
    counts = tokens if texts is None else torch.stack([part.sum() for part in tokens.split(texts)])
    return counts.tolist(), hidden[mask]


def trunk_values(passes: Passes, split: str, token_bytes: int) -> Values:
    """The states of a split, to be stored.

    Args:
        passes: The task and its data.
        split: Name of the split.
        token_bytes: Bytes of the states of a token.
    """
    lengths = passes.data.lengths(split)
    return Values(
        f"Frozen layers on {split}",
        trunk_key(passes, split),
        lengths,
        lambda: int(lengths.sum()) * token_bytes,
        lambda examples: states(passes, passes.batch(split, examples)),
        passes.device,
    )


def trunk_key(passes: Passes, split: str) -> str:
    """A hash of everything that the states of a split depend on, in their last bits too.

    Args:
        passes: The task and its data.
        split: Name of the split.
    """
    task = passes.task
    return passes.key(rows_hash(passes.data.encoded[split]), trunk_digest(task.backbone, task.stages.trunk))


def trunk_digest(backbone: Any, trunk: Trunk) -> str:
    """A hash of the weights, buffers and configuration of a trunk, computed once."""
    trunk.digest = trunk.digest or _digest(backbone, trunk)
    return trunk.digest


def _digest(backbone: Any, trunk: Trunk) -> str:
    config = backbone.config
    own = [type(layer).__qualname__ for layer in trunk.layers], getattr(config, "_attn_implementation", None)
    digest = hashlib.sha256(json.dumps([own, config.to_json_string(use_diff=False)]).encode())
    for name, weight in sorted(_below(backbone, trunk.depth).items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(backbone: nn.Module, depth: int) -> dict[str, Tensor]:
    """The weights and buffers at most as deep as a trunk, by their names without the prefix of a wrapper."""
    prefix, stack = layer_stack(backbone)
    above = tuple(f"{prefix}.{i}." for i in range(depth, len(stack)))
    levels = depths(backbone)
    state = {name: value.detach() for name, value in backbone.state_dict().items() if isinstance(value, Tensor)}
    return {
        name.removeprefix("base_model.model."): value
        for name, value in state.items()
        if not name.startswith(above or "\0") and levels.get(name, 0) <= len(stack)
    }
