"""Run models over the examples of a split in one canonical way, so that whoever stores the results stores the same bits.

Texts of the same length go through a model together, in the order of the split and with at most `TOKENS` tokens at once, in
the precision of the run and without dropout. So the results do not depend on the batches of training, and have no padding.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.shared.base import TaskData
from ftlit.runs.record import hardware
from ftlit.tasks import TaskModule
from ftlit.util.batch import BOOKKEEPING

TOKENS = 4096
VERSION = 1  # to be raised if results are computed or stored differently
QUANTILES = (0.0, 0.5, 0.9)  # of the lengths of the examples that are tried


def canonical_batches(lengths: np.ndarray) -> Iterator[list[int]]:
    """The batches in which the results of a split are computed.

    Args:
        lengths: Number of tokens of each example, ``(examples,)``.
    """
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        size = max(TOKENS // max(int(lengths[same[0]]), 1), 1) if len(same) else 1
        yield from (same[i : i + size].tolist() for i in range(0, len(same), size))


def examples_to_try(lengths: np.ndarray) -> list[int]:
    """A few examples of different lengths, on which it is tried whether results can be stored.

    Args:
        lengths: Number of tokens of each example, ``(examples,)``.
    """
    return np.argsort(lengths, kind="stable")[[int(q * (len(lengths) - 1)) for q in QUANTILES]].tolist()


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

    @property
    def limit(self) -> int:
        """Bytes that all stored results may take."""
        return int(self.data.hparams["cache_limit"] * 2**30)

    def batch(self, split: str, examples: list[int], epoch: int = 0) -> dict[str, Any]:
        """A batch of examples on the device, as training or evaluation has it."""
        columns = self.data.encoded[split][examples]
        made = self.data.collate(columns, MicroBatch(examples, float(len(examples)), epoch if split == "train" else None))
        return self.moved(made)

    def moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch on the device."""
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in batch.items()}

    def run(self, batch: dict[str, Any]) -> Any:
        """Run the model on a batch."""
        with self.trainer.precision_plugin.forward_context():
            return self.task(batch)

    def repeats(self, split: str, examples: list[int]) -> bool:
        """Whether these examples have the same inputs in each epoch."""
        one, other = (
            {name: value for name, value in made.items() if isinstance(value, Tensor) and name not in BOOKKEEPING}
            for made in (self.batch(split, examples, epoch) for epoch in (0, 1))
        )
        return all(torch.equal(value, other[name]) for name, value in one.items())

    def key(self, *settings: Any) -> str:
        """A hash of settings, and of the machine, libraries and precision, on which the last bits of results depend."""
        here = hardware()
        place = here["gpus"][self.device.index or 0] if self.device.type == "cuda" else here["processor"]
        conditions = [
            *(VERSION, torch.__version__, transformers.__version__, str(self.trainer.precision), TOKENS),
            *(self.device.type, place, here["threads"], torch.backends.cpu.get_cpu_capability()),
            *(torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
            type(self.data).__qualname__,
        ]
        return hashlib.sha256(json.dumps([*conditions, *settings]).encode()).hexdigest()[:32]

    def tell(self, text: str) -> None:
        """Print a line on rank zero."""
        if self.trainer.is_global_zero:
            print(text, flush=True)
