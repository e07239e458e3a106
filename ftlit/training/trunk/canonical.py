"""Compute hidden states in one canonical way, so that whoever stores them stores the same bits.

Texts of the same length go through the trunk together, in the order of the split and with at most `TOKENS` tokens at once, in
the precision of the run and without dropout. So the states do not depend on the batches of training, and have no padding.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.shared.base import TaskData
from ftlit.models.layer_depths import depths, layer_stack
from ftlit.models.replay import observed
from ftlit.runs.record import hardware
from ftlit.tasks import TaskModule
from ftlit.tuning.trunk import Trunk
from ftlit.util.private import rows_hash

TOKENS = 4096
VERSION = 1  # to be raised if states are computed or stored differently


def canonical_batches(lengths: np.ndarray) -> Iterator[list[int]]:
    """The batches in which the states of a split are computed.

    Args:
        lengths: Number of tokens of each example, ``(examples,)``.
    """
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        size = max(TOKENS // max(int(lengths[same[0]]), 1), 1) if len(same) else 1
        yield from (same[i : i + size].tolist() for i in range(0, len(same), size))


class Passes:
    """Forward passes of a task over examples of its data.

    Args:
        task: The task, on its device.
        data: Its data.
        trainer: The trainer, which knows the device and the precision.
    """

    def __init__(self, task: TaskModule, data: TaskData, trainer: Any) -> None:
        self.task, self.data, self.trainer = task, data, trainer
        self.device = trainer.strategy.root_device

    def batch(self, split: str, examples: list[int], epoch: int = 0) -> dict[str, Any]:
        """A batch of examples on the device, as training or evaluation has it."""
        columns = self.data.encoded[split][examples]
        made = self.data.collate(columns, MicroBatch(examples, float(len(examples)), epoch if split == "train" else None))
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in made.items()}

    def run(self, batch: dict[str, Any]) -> Any:
        """Run the model on a batch."""
        with self.trainer.precision_plugin.forward_context():
            return self.task(batch)

    @torch.no_grad()
    def states(self, batch: dict[str, Any]) -> tuple[list[int], Tensor]:
        """The number of tokens of each example of a batch, and the states of all tokens, ``(tokens, width)``."""
        hidden = observed(self.task.stages.trunk.layers, lambda: self.run(batch)).hidden
        assert hidden is not None
        mask = batch["attention_mask"].bool()
        texts = self.task.text_counts(batch)
        tokens = mask.sum(1).cpu()
        counts = tokens if texts is None else torch.stack([part.sum() for part in tokens.split(texts)])
        return counts.tolist(), hidden[mask]


def trunk_key(passes: Passes, split: str) -> str:
    """A hash of everything that the states of a split depend on, in their last bits too.

    Args:
        passes: The task and its data.
        split: Name of the split.
    """
    task, data, here = passes.task, passes.data, hardware()
    place = here["gpus"][passes.device.index or 0] if passes.device.type == "cuda" else here["processor"]
    settings = [
        *(VERSION, torch.__version__, transformers.__version__, str(passes.trainer.precision), TOKENS),
        *(passes.device.type, place, here["threads"], torch.backends.cpu.get_cpu_capability()),
        *(torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
        *(type(data).__qualname__, rows_hash(data.encoded[split]), trunk_digest(task.backbone, task.stages.trunk)),
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]


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
