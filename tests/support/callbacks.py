"""Callbacks that change what a run does, which tests name on the command line."""

from typing import Any

from lightning import Callback, Trainer


class Negated(Callback):
    """Turns what the head says into its opposite when the second epoch begins."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            for weight in pl_module.model.classifier.parameters():
                weight.data.neg_()
