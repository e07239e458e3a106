"""Whether the outputs of a teacher are computed once, which the config and the data decide."""

import math
from typing import Any

from ftlit.errors import UserError
from ftlit.training.stored.canonical import Passes, examples_to_try
from ftlit.training.stored.folder import reason_of_limit
from ftlit.training.teacher.lessons import lesson_splits, lessons_to_try, size_of


def computed_once(setting: Any, passes: Passes) -> bool:
    """Whether the outputs of a teacher are computed once, before the first step, and not in each batch.

    Args:
        setting: The option `model.teacher_cache`.
        passes: The task and its data.

    Raises:
        UserError: The option is true, and the outputs cannot be stored.
    """
    if setting is not True and not whole_epoch(passes.trainer, passes.task.total_steps):
        return False
    if not (reason := reason_against(passes)):
        return True
    if setting is True:
        raise UserError(f"model.teacher_cache is true, but {reason}; set it to false or auto")
    if passes.task.lesson_unit is not None:
        passes.tell(f"the teacher computes its outputs in each batch: {reason}")
    return False


def whole_epoch(trainer: Any, steps: int) -> bool:
    """Whether training goes through all examples at least once."""
    return steps >= math.ceil(len(trainer.train_dataloader) / trainer.accumulate_grad_batches)


def reason_against(passes: Passes) -> str | None:
    """Why the outputs of a teacher cannot be stored, or None."""
    name = type(passes.task).__name__
    if passes.task.lesson_unit is None:
        return f"the outputs of a teacher of {name} are not stored: they may have a number for each token of the vocabulary"
    if not passes.repeats("train", examples_to_try(passes.data.lengths("train"))):
        return "the data change the texts in each epoch"
    counts, found = lessons_to_try(passes, "train")
    if found.dim() != 2 or len(found) != sum(counts):
        return f"the outputs of a teacher of {name} are no rows for each {passes.task.lesson_unit}"
    return reason_of_limit(sum(size_of(passes, split) for split in lesson_splits(passes)), passes.limit)
