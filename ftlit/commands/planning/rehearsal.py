"""Run a few real steps with the longest and the median batch, and estimate the whole run from them."""

import json
import math
import statistics
import time
from functools import cached_property
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger

from ftlit.commands.planning.batches import RehearsalData, Steps
from ftlit.commands.planning.capacity import checkpoint_bytes, device_memory, out_of_memory
from ftlit.commands.planning.preview import Preview
from ftlit.commands.planning.recomputation import with_and_without
from ftlit.data.shared.base import TaskData
from ftlit.tasks import TaskModule
from ftlit.training.cost import Cost, peak_memory
from ftlit.training.keep.callback import KeepWeights, rehearsed_anchors
from ftlit.training.loss_log import LossLog
from ftlit.training.predictions import Predictions
from ftlit.training.progress import ProgressFile
from ftlit.training.teacher.callback import TeacherCache
from ftlit.training.trunk.callback import TrunkCache
from ftlit.util.private import is_accumulating, validate_after_batches, validation_seconds

STEPS = 3  # of each kind, after a warm-up step
# Callbacks that write files, stop training or print, one that slows down the first batches by counting
# operations, and one that computes what all epochs share.
NOT_REHEARSED = (
    *(Checkpoint, Cost, EarlyStopping, KeepWeights, LossLog, Predictions, ProgressBar, ProgressFile, TeacherCache, TrunkCache),
)


class StepTimer(Callback):
    """Times each step, and ends training after a number of steps and one validation.

    Args:
        data: The data, which yields two kinds of batches.
        steps: Number of steps of each kind.
    """

    def __init__(self, data: RehearsalData, steps: int) -> None:
        self.data, self.count = data, 1 + 2 * steps
        self.times: dict[str, list[tuple[str, float]]] = {"train": [], "fit": [], "validate": []}
        self.finish = {"fit": 0.0, "validate": 0.0}  # seconds that metrics take for an evaluated row
        self.doing = "the model"
        self.memory: dict[str, int] = {}
        self.sizes: dict[bool, int] = {}
        self.recomputation: dict[str, Any] = {}
        self._largest: dict[str, Any] = {}
        self.lines: list[int] = []
        self.validations = 0
        self.val_interval: float | None = None
        self.batches = self.steps = 0
        self._mark, self._rows = 0.0, 0

    # Training

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.keep is not None:
            pl_module.anchors = rehearsed_anchors(pl_module)
        self.batches, self.steps = int(trainer.num_training_batches), pl_module.total_steps
        self.val_interval = validation_seconds(trainer)
        self.validations = 0 if self.val_interval else validations(trainer, self.steps)
        size, count = trainer.accumulate_grad_batches, min(self.count, self.steps)
        trainer.fit_loop.epoch_loop.max_steps = count
        validate_after_batches(trainer, count * size)
        self._mark = self._now(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.doing = f"a training batch of {described(batch)}"
        if not self._largest or batch["input_ids"].numel() > self._largest["input_ids"].numel():
            self._largest = batch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not is_accumulating(trainer):
            self._take("train", self.data.train_steps, trainer, batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sizes = {weights_only: checkpoint_bytes(trainer, weights_only) for weights_only in (True, False)}
        self.memory = peak_memory(trainer.strategy.root_device)  # a checkpoint takes some, too
        self.recomputation = with_and_without(trainer, pl_module, self._largest)  # type: ignore[arg-type]

    # Evaluation

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.keep_predictions = trainer.state.fn == "validate"
        self._mark, self._rows = self._now(trainer), 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.doing = f"an evaluation batch of {described(batch)}"

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._rows += len(batch["ids"])
        self._take(str(trainer.state.fn.value), self._validation, trainer, batch)  # type: ignore[union-attr]

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.finish[str(trainer.state.fn.value)] = (self._now(trainer) - self._mark) / self._rows  # type: ignore[union-attr]
        if pl_module.keep_predictions:
            found = {
                i: {**self.data.record_at("validation", i), **shown}
                for i, shown in pl_module.evaluators["val"].predictions.items()
            }
            self.lines = [len(json.dumps(line, ensure_ascii=False).encode()) + 1 for line in found.values()]
        self._mark = self._now(trainer)

    @cached_property
    def _validation(self) -> Steps:
        return self.data.evaluation_steps("validation")

    def _take(self, what: str, steps: Steps, trainer: Trainer, batch: Any) -> None:
        now = self._now(trainer)
        self.times[what].append((steps.kind(batch["feature_ids"].tolist()), now - self._mark))
        self._mark = now

    def _now(self, trainer: Trainer) -> float:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize(trainer.strategy.root_device)
        return time.monotonic()

    # Findings

    def seconds(self, what: str) -> dict[str, float]:
        """Seconds of the longest and the median step, without the first step if there are others of its kind."""
        times = self.times[what] or self.times["validate"]

        def own(kind: str) -> list[float]:
            later, all_ = ([s for k, s in part if k == kind] for part in (times[1:], times))
            return later or all_ or [s for _, s in times]

        return {kind: statistics.median(own(kind)) for kind in ("longest", "median")}


def described(batch: dict[str, Any]) -> str:
    """The size of a batch."""
    return f"{len(batch['ids'])} examples, {batch['input_ids'].numel():,} tokens with padding"


def validations(trainer: Trainer, steps: int) -> int:
    """Number of validations during a training of `steps` optimizer steps, which ends with one."""
    if not trainer.enable_validation or not steps:
        return 0
    batches, size = int(trainer.num_training_batches), trainer.accumulate_grad_batches
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    whole, rest = divmod(steps, math.ceil(batches / size))
    done = whole * batches + rest * size
    if epochs is None:
        return math.ceil(done / every)  # type: ignore[operator]
    due = [(number + 1) % epochs == 0 for number in range(whole + bool(rest))]  # of each epoch
    counts = [batches // every] * whole + [rest * size // every] * bool(rest)  # type: ignore[operator]
    ends = due[-1] and (rest * size or batches) % every == 0  # type: ignore[operator]
    return int(sum(count for count, is_due in zip(counts, due, strict=True) if is_due)) + (not ends)


def bare(trainer: Trainer) -> Trainer:
    """Remove the callbacks that write files, stop training or print, and replace all loggers."""
    trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, NOT_REHEARSED)]  # type: ignore[attr-defined]
    trainer.loggers = [DummyLogger()]
    trainer.num_sanity_val_steps = 0
    return trainer


def rehearse(trainer: Trainer, model: TaskModule, data: TaskData, untrained: bool, began: float, steps: int = STEPS) -> Preview:
    """Run a few steps and evaluate a few batches of validation. The weights cannot be used afterwards.

    Args:
        trainer: A trainer that `bare` has prepared.
        model: The task.
        data: The data of the task, after `setup`.
        untrained: Whether the run will evaluate the untrained model.
        began: Start of the command, by the monotonic clock.
        steps: Number of steps of each kind.
    """
    setup = time.monotonic() - began
    limits = {"validation": trainer.limit_val_batches, "test": trainer.limit_test_batches}
    rehearsed = RehearsalData(data)
    timer = StepTimer(rehearsed, steps)
    trainer.limit_val_batches = 1.0 if trainer.limit_val_batches else 0
    trainer.callbacks.append(timer)  # type: ignore[attr-defined]
    try:
        trainer.fit(model, datamodule=rehearsed)
        trainer.limit_val_batches = 1.0
        trainer.validate(model, datamodule=rehearsed, verbose=False)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        recompute = "" if model.hparams["gradient_checkpointing"] else "set model.gradient_checkpointing: true, "
        return Preview(memory_bytes=device_memory(trainer), problem=(
            f"this will not fit: memory ran out on {timer.doing}; {recompute}make batches smaller (data.batching, with "
            "trainer.accumulate_grad_batches for the same steps), lower data.max_length, or choose a model.tuning "
            "that trains less"
        ))  # fmt: skip
    given = {"untrained": untrained, "setup_seconds": setup, "recomputed": model.hparams["gradient_checkpointing"]}
    return _foreseen(trainer, timer, limits, given)


def _foreseen(trainer: Trainer, timer: StepTimer, limits: dict[str, Any], given: dict[str, Any]) -> Preview:
    train, known = timer.data.train_steps, timer.seconds("train")
    evaluated = {split: timer.data.evaluation_steps(split) for split in limits if split in timer.data.encoded}
    rows = {split: len(encoded) for split, encoded in timer.data.encoded.items()}
    size, world = trainer.accumulate_grad_batches, trainer.world_size

    def evaluation(what: str, split: str) -> float:
        count, share = _limited(len(evaluated[split].tokens), limits[split])
        return evaluated[split].seconds(timer.seconds(what), count) + timer.finish[what] * rows[split] * share / world

    train_seconds = train.seconds(known, timer.steps)
    line = statistics.fmean(timer.lines) if timer.lines else 0.0
    return Preview(
        rows=rows,
        steps_per_epoch=math.ceil(timer.batches / size),
        steps=timer.steps,
        tokens={kind: int(train.tokens[i]) for kind, i in train.chosen.items()},
        step_seconds=known,
        train_seconds=train_seconds,
        validations=int(train_seconds // timer.val_interval) if timer.val_interval else timer.validations,
        validation_seconds=evaluation("fit", "validation"),
        evaluation_seconds={split: evaluation("validate", split) for split in evaluated},
        peak_memory_bytes=timer.memory["peak_memory_bytes"],
        peak_reserved_bytes=timer.memory.get("peak_reserved_bytes"),
        recomputation=timer.recomputation,
        memory_bytes=device_memory(trainer),
        best_bytes=timer.sizes[True],
        last_bytes=timer.sizes[False],
        prediction_bytes={split: round(line * len(timer.data.rows[split])) for split in evaluated},
        **given,
    )


def _limited(count: int, limit: int | float) -> tuple[int, float]:
    """How many of `count` batches Lightning evaluates under a limit, and their share."""
    limited = min(count, limit) if isinstance(limit, int) else int(count * limit)
    return limited, limited / count
