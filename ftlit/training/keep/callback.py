"""Find what `model.keep` holds the weights near before the first step, and keep it over interruptions."""

from functools import partial
from typing import Any

import torch
from lightning import Callback, Trainer

from ftlit.optimization.keep import Anchors, Pull, trained_weights
from ftlit.training.keep.fisher import importance
from ftlit.training.stored.canonical import Passes

ANCHORS = "anchors"  # in checkpoints


class KeepWeights(Callback):
    """Holds weights near those that training begins with, if the task has `keep`.

    Args:
        resumed: Whether training resumes from the run's own checkpoint, which knows with what it began.
    """

    def __init__(self, resumed: bool) -> None:
        self.resumed = resumed
        self._saved: dict[str, Any] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and self.resumed:
            self._saved = checkpoint.get(ANCHORS)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if pl_module.anchors is not None:
            checkpoint[ANCHORS] = pl_module.anchors.state()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.keep is None:
            return
        if self._saved is not None:
            anchors = Anchors(self._saved)
        else:
            found = partial(importance, Passes(pl_module, trainer.datamodule, trainer))
            anchors = Anchors(pl_module.keep.pulls(trained_weights(pl_module.model), found))
        pl_module.anchors, self._saved = anchors.to(trainer.strategy.root_device), None

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        pl_module.anchors = None


def rehearsed_anchors(task: Any) -> Anchors:
    """Anchors that take as much time and memory as those of a run, whatever these depend on."""
    weights = trained_weights(task.model)
    return Anchors({name: Pull(weight.detach().float().clone(), torch.zeros_like(weight)) for name, weight in weights.items()})
