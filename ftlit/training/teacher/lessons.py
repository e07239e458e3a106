"""What a teacher makes of the examples of a split, and the hash of what this depends on."""

import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftlit.tasks import TaskModule
from ftlit.tasks.shared.teacher import LessonUnit, Teacher
from ftlit.training.stored.canonical import Passes, examples_to_try
from ftlit.training.stored.filling import Values
from ftlit.util.batch import IGNORED
from ftlit.util.private import rows_hash

UNLABELLED = "unlabelled"  # in the place of a split


def lesson_counts(task: TaskModule, batch: dict[str, Any]) -> list[int]:
    """How many rows of the teacher's outputs each example of a batch has."""
    unit: LessonUnit | None = task.lesson_unit
    if unit == "choice":
        return task.text_counts(batch) or []
    if unit == "example":
        return [1] * len(batch["input_ids"])
    chosen = batch["labels"] != IGNORED if unit == "label" else batch["attention_mask"].bool()
    return chosen.sum(1).tolist()


@torch.no_grad()
def lessons(passes: Passes, split: str, examples: list[int]) -> tuple[list[int], Tensor]:
    """The number of rows of each example, and the teacher's outputs for all, ``(rows, width)``."""
    batch = {name: value for name, value in batch_of(passes, split, examples).items() if name != "split"}
    with passes.trainer.precision_plugin.forward_context():
        return lesson_counts(passes.task, batch), passes.task.teacher.lessons(batch)


def batch_of(passes: Passes, split: str, examples: list[int]) -> dict[str, Any]:
    """A batch of a split, or of the texts without labels, on the device."""
    if split == UNLABELLED:
        return passes.moved(passes.data.unlabelled_batch(examples))
    return passes.batch(split, examples)


def lesson_splits(passes: Passes) -> list[str]:
    """What a teacher reads in training."""
    texts = passes.data.unlabelled is not None and passes.task.teaches_texts
    return ["train", *([UNLABELLED] if texts else [])]


def lesson_values(passes: Passes, split: str) -> Values:
    """The teacher's outputs for a split, to be stored."""
    lengths = lengths_of(passes, split)
    texts = passes.data.unlabelled
    rows = texts.features if split == UNLABELLED and texts is not None else passes.data.encoded[split]
    return Values(
        f"Teacher on {split} texts" if split == UNLABELLED else f"Teacher on {split}",
        passes.key(type(passes.task).__qualname__, split, rows_hash(rows), teacher_digest(passes.task.teacher)),
        lengths,
        lambda: size_of(passes, split),
        lambda examples: lessons(passes, split, examples),
        passes.device,
    )


def lengths_of(passes: Passes, split: str) -> np.ndarray:
    """Number of tokens of each example of a split, or of the texts without labels, ``(examples,)``."""
    texts = passes.data.unlabelled
    if split == UNLABELLED and texts is not None:
        return np.fromiter(map(len, texts.features["input_ids"][:]), dtype=np.int64, count=len(texts.features))
    return passes.data.lengths(split)


def lessons_to_try(passes: Passes, split: str) -> tuple[list[int], Tensor]:
    """What `lessons` returns for a few examples of a split. No random number of the run is drawn."""
    devices = [passes.device] if passes.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        return lessons(passes, split, examples_to_try(lengths_of(passes, split)))


def size_of(passes: Passes, split: str) -> int:
    """How many bytes the teacher's outputs for a split take at most."""
    lengths, (_, found) = lengths_of(passes, split), lessons_to_try(passes, split)
    rows = len(lengths) if passes.task.lesson_unit == "example" else int(lengths.sum())
    return rows * found[0].numel() * found.itemsize


def teacher_digest(teacher: Teacher) -> str:
    """A hash of all that a teacher's outputs depend on: its weights, and settings that are no weights."""
    task = teacher.task
    config = {name: value for name, value in task.model.config.to_dict().items() if name != "_name_or_path"}
    attention = getattr(task.model.config, "_attn_implementation", None)
    own = [teacher.digest, type(task).__qualname__, str(task.tuning), task.hparams.get("label_scale")]
    head = type(task.head).__qualname__, vars(task.head)
    text = json.dumps([*own, *head, attention, teacher.reads_types, config], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
