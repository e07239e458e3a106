"""Store the states of the trunk when they are first needed, and give them to the task."""

import time
from functools import partial
from typing import Any

from lightning import Callback, Trainer
from torch import Tensor

from ftlit.errors import UserError
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import RunRecord
from ftlit.training.stored.canonical import Passes
from ftlit.training.stored.filling import stored
from ftlit.training.stored.store import Store
from ftlit.training.trunk.decision import decided
from ftlit.training.trunk.proof import Proof, proof
from ftlit.training.trunk.states import trunk_values
from ftlit.tuning.trunk import States

DECISION = "trunk_cache"  # in checkpoints and run.json


class TrunkCache(Callback):
    """Gives a task the stored states of its trunk.

    What was decided for a trunk of some depth stays so for the run, since the last bits of its results depend on it.

    Args:
        record: The record of the run, which says whether states were stored.
        resumed: Whether training resumes from the run's own checkpoint.
    """

    def __init__(self, record: RunRecord, resumed: bool) -> None:
        self.record, self.resumed = record, resumed
        self.kept: dict[str, bool] = {}  # whether states are stored, by the depth of the trunk
        self.seconds = 0.0  # of computing and opening them
        self._proofs: dict[str, Proof] = {}
        self._without: set[tuple[str, str]] = set()  # depths and splits whose states cannot be stored now

    # Over interruptions

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[DECISION] = {"kept": dict(self.kept), "seconds": self.seconds}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and self.resumed:
            state = checkpoint.get(DECISION, {"kept": {"every": False}, "seconds": 0.0})
            self.kept, self.seconds = dict(state["kept"]), state["seconds"]

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.record.path.is_file():
            self.record.update(**{DECISION: self.kept})

    # Before batches

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.stages.follow(pl_module)  # before the task does it itself
        if "train" not in pl_module.stages.trunk.stored:
            self._give(trainer, pl_module, "train")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._give(trainer, pl_module, "validation")

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._give(trainer, pl_module, "test")

    def _give(self, trainer: Any, task: Any, split: str) -> None:
        """Give the task the states of a split, if they are stored."""
        depth = str(task.stages.trunk.depth)
        if trainer.state.fn == "fit" and depth not in self.kept and "every" not in self.kept:
            self.kept[depth] = self._begin(Passes(task, trainer.datamodule, trainer), depth)
        if split in task.stages.trunk.stored or (depth, split) in self._without or not self._kept(trainer).get(depth):
            return
        passes = Passes(task, trainer.datamodule, trainer)
        try:
            self._open(passes, depth, split)
        except UserError as error:
            self._without.add((depth, split))
            passes.tell(f"the frozen layers are computed again on {split}, which may change last bits of the results: {error}")

    def _kept(self, trainer: Trainer) -> dict[str, bool]:
        """What was decided, in this run or when it trained."""
        if trainer.state.fn == "fit" or self.kept:
            return self.kept
        return RunFolder(self.record.path.parent).record.get(DECISION, {})

    def _begin(self, passes: Passes, depth: str) -> bool:
        """Decide whether states are stored, and compute those of train if they are."""
        found, reason = decided(passes.task.hparams["trunk_cache"], passes, [*passes.data.encoded])
        if found is None:
            if reason:
                passes.tell(f"the frozen layers are computed again in each epoch: {reason}")
            return False
        self._proofs[depth] = found
        try:
            self._open(passes, depth, "train")
        except UserError as error:
            passes.tell(f"the frozen layers are computed again in each epoch: {error}")
            return False
        return True

    def _open(self, passes: Passes, depth: str, split: str) -> None:
        """Give the task the states of a split.

        Raises:
            UserError: They are not there, and cannot be stored.
        """
        began = time.monotonic()
        if depth not in self._proofs:
            self._proofs[depth] = proof(passes, split)
        known = self._proofs[depth]
        store = stored(trunk_values(passes, split, known.token_bytes), passes.limit)
        passes.task.stages.trunk.stored[split] = States(partial(read, store), known.forms)
        self.seconds += time.monotonic() - began


def read(store: Store, batch: dict[str, Any]) -> Tensor:
    """Return the states of a batch, ``(texts, tokens, width)``, with zeros where there is padding."""
    mask = batch["attention_mask"].bool()
    states = store.read(batch["feature_ids"].tolist()).to(mask.device)
    made = states.new_zeros(*mask.shape, states.shape[1])
    made[mask] = states
    return made
