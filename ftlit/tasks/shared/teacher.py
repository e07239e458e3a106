"""Learn from a teacher: a trained task whose outputs another one, the student, comes to match."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, read_tokenizer
from ftlit.models.checks.positions import max_positions
from ftlit.runs.exported import is_exported, trained_task
from ftlit.runs.reading import RunFolder
from ftlit.util.label_sets import listed

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule

# What a row of the teacher's outputs is about: an example, one of its labelled tokens, of all its tokens, or of its choices.
LessonUnit = Literal["example", "label", "token", "choice"]
SAMPLE = "Is it 12 o'clock, said Zoë? (No!)"  # split in different ways by different tokenizers


class Teacher:
    """A trained task that computes what another one learns. It is no part of the student, nor of its checkpoints.

    Args:
        task: The trained task.
        source: The folder that it was loaded from.
    """

    def __init__(self, task: "TaskModule", source: str) -> None:
        self.task, self.source, self.digest = task.eval().requires_grad_(False), source, weights_digest(task)
        self.reads_types = "token_type_ids" in _tokenizer(task).model_input_names
        self.stored: dict[str, Callable[[list[int]], Tensor]] = {}  # reads outputs by split; filled during a run

    @property
    def record(self) -> dict[str, str]:
        """What a run says of its teacher."""
        return {"folder": self.source, "digest": self.digest}

    @torch.no_grad()
    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return the outputs for a batch of the student, from the store if they are there."""
        device = batch["input_ids"].device
        if (read := self.stored.get(batch.get("split", ""))) is not None:
            return read(batch["feature_ids"].tolist()).to(device)
        if self.task.device != device:
            self.task.to(device)
        left_out = {"split", *([] if self.reads_types else ["token_type_ids"])}
        return self.task.lessons({name: value for name, value in batch.items() if name not in left_out})

    def check_inputs(self, longest: int, pairs: bool, types: bool) -> None:
        """Check that the teacher can read the student's inputs.

        Args:
            longest: Number of tokens of the longest input.
            pairs: Whether inputs are pairs of texts.
            types: Whether they have token types.

        Raises:
            UserError: It cannot.
        """
        limit = max_positions(load_config(self.task.hparams["backbone"], self.task.hparams["trust_remote_code"]))
        if limit is not None and longest > limit - self.task.tuning.positions:
            raise UserError(
                f"model.teacher {self.source!r} reads at most {limit - self.task.tuning.positions} tokens, and the data have "
                f"{longest}; set data.max_length to what it reads"
            )
        if pairs and self.reads_types and not types:
            raise UserError(
                f"model.teacher {self.source!r} tells the texts of a pair by token types, which the tokenizer of "
                "model.backbone does not return; choose a teacher or a backbone with the same inputs"
            )


def distilled_losses(task: "TaskModule", logits: Tensor, batch: dict[str, Any]) -> Tensor:
    """Return the loss of each example of a batch from its labels and from the teacher's outputs, ``(batch,)``.

    If a text without labels comes with each example, both have the same weight in what is learned from the teacher.
    """
    taught = task.taught_losses(logits, task.teacher.lessons(batch), batch)
    if task.teaches_texts and (texts := batch.get("unlabelled")) is not None:
        taught = (taught + task.taught_losses(task.logits(texts), task.teacher.lessons(texts), texts)) / 2
    return task.distillation.mixed(task.losses(logits, batch), taught)


def weights_digest(task: "TaskModule") -> str:
    """A hash of the weights of a trained model."""
    digest = hashlib.sha256()
    for name, weight in sorted(task.model.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def check_distillation(task: "TaskModule") -> None:
    """Check that a task can learn from a teacher if its loss does, and that a teacher is not named in vain.

    Raises:
        UserError: It cannot, or the loss does not use the teacher.
    """
    source = task.hparams["teacher"]
    if task.distillation is None and source is not None:
        raise UserError(
            f"model.teacher {source!r} teaches through the loss Distillation alone: set model.loss to Distillation, or leave "
            "the teacher out"
        )
    if task.distillation is None and task.hparams["teacher_cache"] is True:
        raise UserError("model.teacher_cache is true, but there is no model.teacher; leave it out")
    if task.distillation is not None and not task.takes_teacher:
        raise UserError(f"model.loss Distillation does not fit {type(task).__name__}; use another loss")


def check_same_teacher(task: "TaskModule", checkpoint: dict[str, Any]) -> None:
    """Check that a run continues with the teacher that it began with.

    Raises:
        UserError: The teacher has other weights.
    """
    if task.distillation is not None and checkpoint.get("teacher", task.teacher.digest) != task.teacher.digest:
        raise UserError(
            f"the run cannot continue exactly, because model.teacher {task.hparams['teacher']!r} has other weights than "
            "when it began; put them back, or start another --run_dir"
        )


# Open the teacher


def open_teacher(task: "TaskModule") -> Teacher:
    """Open the folder that `model.teacher` of a task names, without drawing random numbers of the run.

    Raises:
        UserError: The task names no teacher, the folder holds none, or it cannot teach this task.
    """
    source = task.hparams["teacher"]
    if source is None:
        raise UserError("model.loss Distillation learns from a teacher: set model.teacher to the folder of a run or an export")
    folder = Path(source).expanduser()
    run = RunFolder(folder)
    if not is_exported(folder) and not run.best_checkpoint:
        raise UserError(f"model.teacher {source!r} holds neither a run nor an export; expected the folder of one of them")
    if run.record and not run.finished:
        raise UserError(
            f"model.teacher {source!r} is a run that has not finished: run.json says {run.status}; finish it with --resume"
        )
    with torch.random.fork_rng():
        teacher = trained_task(folder, task.hparams["trust_remote_code"])
    _check_task(teacher, task, source)
    _check_tokenizer(teacher, task, source)
    _check_size(teacher, task, source)
    return Teacher(teacher, source)


def _check_task(teacher: "TaskModule", task: "TaskModule", source: str) -> None:
    if not isinstance(teacher, type(task)) and not isinstance(task, type(teacher)):
        raise UserError(f"model.teacher {source!r} was trained for {type(teacher).__name__}, and this is {type(task).__name__}")
    theirs, own = (getattr(one, "label_names", []) for one in (teacher, task))
    if theirs != own:
        raise UserError(
            f"model.teacher {source!r} knows the labels {listed(theirs, own)}, but the data have {listed(own, theirs)}; set "
            "data.label_names to the labels of the teacher, in its order"
        )
    for option in ("multi_label", "next_sentence"):
        if getattr(teacher, option, False) != getattr(task, option, False):
            raise UserError(
                f"model.teacher {source!r} was trained with model.{option} {getattr(teacher, option)}; set it to the same"
            )
    if getattr(task, "no_answer", False) and not getattr(teacher, "no_answer", False):
        raise UserError(
            f"model.teacher {source!r} was trained on questions that all have an answer, and some of the data have none; "
            "choose a teacher that knows such questions, or set data.no_answer: false"
        )
    if list(teacher.added_tokens) != list(task.added_tokens):
        raise UserError(f"model.teacher {source!r} was trained with other added tokens than the data have; use the same data")


def _check_tokenizer(teacher: "TaskModule", task: "TaskModule", source: str) -> None:
    """Check that the teacher reads the tokens of the student, and writes the same if both write."""
    kinds = [("reads", _tokenizer), *([("writes", lambda one: one.tokenizer)] if hasattr(task, "tokenizer") else [])]
    for does, tokenizer_of in kinds:
        theirs, own = tokenizer_of(teacher), tokenizer_of(task)
        if theirs.get_vocab() != own.get_vocab() or theirs(SAMPLE)["input_ids"] != own(SAMPLE)["input_ids"]:
            raise UserError(
                f"model.teacher {source!r} {does} other tokens than model.backbone {task.hparams['backbone']!r}: their "
                "tokenizers differ; choose a teacher with the same tokenizer"
            )


def _tokenizer(task: "TaskModule") -> Any:
    return read_tokenizer(task.hparams["backbone"], task.hparams["trust_remote_code"])


def _check_size(teacher: "TaskModule", task: "TaskModule", source: str) -> None:
    theirs, own = (getattr(one.model.config, "num_hidden_layers", 0) for one in (teacher, task))
    if own > theirs:
        raise UserError(
            f"model.teacher {source!r} has {theirs} layers, and its student has {own}; choose a smaller model.backbone, or "
            "some of its layers by model.keep_layers"
        )
