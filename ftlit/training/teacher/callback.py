"""Compute the outputs of the teacher before the first step, and give them to the task."""

import time
from typing import Any

from lightning import Callback, Trainer

from ftlit.errors import UserError
from ftlit.training.stored.canonical import Passes
from ftlit.training.stored.filling import held, stored
from ftlit.training.stored.store import Held, Store
from ftlit.training.teacher.decision import computed_once
from ftlit.training.teacher.lessons import lesson_splits, lesson_values

DECISION = "teacher_cache"  # in checkpoints


class TeacherCache(Callback):
    """Gives a task the outputs of its teacher, computed once, from the disk or from memory: they are the same bits.

    What was decided stays so for the run, since the last bits of its results depend on it.

    Args:
        resumed: Whether training resumes from the run's own checkpoint.
    """

    def __init__(self, resumed: bool) -> None:
        self.resumed = resumed
        self.once: bool | None = None  # whether outputs are computed once; None until it is decided
        self.seconds = 0.0  # of computing and opening them
        self._begun = False

    # Over interruptions

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.once is not None:
            checkpoint[DECISION] = {"once": self.once, "seconds": self.seconds}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and self.resumed and (state := checkpoint.get(DECISION)):
            self.once, self.seconds = state["once"], state["seconds"]

    # Before the first batch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._begun or pl_module.distillation is None:
            return
        self._begun = True
        began = time.monotonic()
        self._begin(Passes(pl_module, trainer.datamodule, trainer))
        self.seconds += time.monotonic() - began

    def _begin(self, passes: Passes) -> None:
        teacher, setting = passes.task.teacher, passes.task.hparams["teacher_cache"]
        teacher.stored.clear()
        if self.once is None:
            self.once = computed_once(setting, passes)
        if self.once:
            found = {split: opened(passes, split, on_disk=setting is not False) for split in lesson_splits(passes)}
            teacher.stored.update({split: values.read for split, values in found.items()})
            teacher.task.cpu()  # it is not needed on the device any more


def opened(passes: Passes, split: str, on_disk: bool) -> Store | Held:
    """The outputs of the teacher for a split; in memory, with a line that says so, if the disk has no room for them."""
    values = lesson_values(passes, split)
    if not on_disk:
        return held(values)
    try:
        return stored(values, passes.limit)
    except UserError as error:
        passes.tell(f"the outputs of the teacher on {split} are kept in memory: {error}")
        return held(values)
