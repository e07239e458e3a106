"""Lightning's Trainer with the defaults, callbacks and files of every run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, ProgressBar

from ftlit.errors import UserError, settings
from ftlit.runs.checkpoint import AtomicCheckpointIO
from ftlit.runs.loggers import continue_tracking
from ftlit.runs.metrics_file import MetricsFile
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import RunRecord
from ftlit.tasks import TaskModule
from ftlit.tasks.shared.evaluator import check_callbacks
from ftlit.training.bfloat16 import check_precision, default_precision, keep_inputs
from ftlit.training.checks import MonitoredMetrics, TrainingChecks
from ftlit.training.cost import Cost
from ftlit.training.interruption import Interruption
from ftlit.training.keep.callback import KeepWeights
from ftlit.training.loss_log import LossLog
from ftlit.training.predictions import Predictions
from ftlit.training.progress import ProgressFile, progress_display
from ftlit.training.resume import BestCheckpoint, LastCheckpoint, NewSettings, RandomState
from ftlit.training.teacher.callback import TeacherCache
from ftlit.training.trunk.callback import TrunkCache
from ftlit.util.arguments.ranges import check_number, check_section
from ftlit.util.machine import keep_freed_memory

TRAINER_DEFAULTS: dict[str, Any] = {
    "accelerator": "cpu" if torch.backends.mps.is_available() else "auto",  # metrics need float64, which MPS lacks
    "max_epochs": 3,
    "logger": False,  # metrics.csv is always written; configs can add other loggers
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # the table of trained parameters is printed instead
    "inference_mode": False,
    "use_distributed_sampler": False,  # the data module shards by itself, without duplicates
}

FEW = 4  # processes that may always share a CPU, to try what runs on several devices


def trainer_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Add the defaults of every run to arguments of Lightning's Trainer.

    Raises:
        UserError: Nothing limits the training, for which Lightning would take 1,000 epochs.
    """
    arguments = {**TRAINER_DEFAULTS, **given}
    limits = {name: arguments.get(name) for name in ("max_epochs", "max_steps", "max_time", "fast_dev_run")}
    if all(limit in (None, -1, False) for limit in limits.values()) and limits["max_epochs"] is None:
        raise UserError("trainer.max_epochs is null and nothing else limits the training; set it, or trainer.max_steps")
    if arguments.get("precision") is None:
        arguments["precision"] = default_precision(arguments["accelerator"])
    return arguments


def check_processes(trainer: Any) -> None:
    """Check that a CPU is not shared by many more processes than it has cores.

    Raises:
        UserError: It would be.
    """
    cores = os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > max(cores, FEW):
        raise UserError(f"trainer.devices is {trainer.num_devices}, but this machine has {cores} cores, one for each")


@dataclass(frozen=True)
class RunOptions:
    """Options of training besides those of Lightning's Trainer, as described in `ftlit.fit`."""

    seed: int = 0
    patience: int | None = 3
    training_checks: bool = True
    save_every_n_steps: int | None = None
    keep_last: bool = True

    def __post_init__(self) -> None:
        check_number("seed_everything", self.seed, "seed")
        check_section("", {"patience": self.patience, "save_every_n_steps": self.save_every_n_steps})


class RunParts:
    """The trainer of a run with its callbacks and files: log, record, cost, predictions, checkpoints.

    Args:
        run_dir: The run's folder.
        options: Options of training.
        resumed: Whether training resumes from the run's own last checkpoint.
        training: Whether the model is trained, not only evaluated.
    """

    trainer: Trainer

    def __init__(self, run_dir: Path, options: RunOptions, resumed: bool, training: bool = True) -> None:
        self.run_dir, self.options, self.training, self.resumed = run_dir, options, training, resumed
        self.metrics_file, self.record = MetricsFile(run_dir), RunRecord(run_dir)
        self.loss_log, self.cost, self.predictions = LossLog(), Cost(), Predictions(run_dir)
        self.trunk_cache, self.teacher_cache = TrunkCache(self.record, resumed), TeacherCache(resumed)
        self.last = LastCheckpoint(run_dir, options.save_every_n_steps, self.metrics_file, resumed, options.keep_last)
        self.interruption = Interruption(self.last if training else None)

    def make_trainer(self, arguments: dict[str, Any], model: TaskModule) -> Trainer:
        """Create the trainer from arguments of Lightning's Trainer and the defaults of every run."""
        callbacks = arguments.get("callbacks") or []
        check_section("trainer", arguments)
        with settings("trainer"):
            trainer = Trainer(**trainer_arguments(arguments), default_root_dir=self.run_dir)
        return self.attach_callbacks(trainer, model, callbacks if isinstance(callbacks, list) else [callbacks])

    def attach_callbacks(self, trainer: Any, model: TaskModule, named: list[Callback]) -> Trainer:
        """Add the callbacks and loggers of the run to a trainer.

        Args:
            trainer: A trainer that was created by Lightning.
            model: The task, whose monitored metric decides the best checkpoint.
            named: Callbacks that the user has configured. Callbacks that Lightning adds by default are replaced.
        """
        check_precision(str(trainer.precision), trainer.strategy.root_device)
        check_processes(trainer)
        keep_inputs(trainer)
        trainer.callbacks = self._callbacks(trainer, model, named)
        if self.resumed or not self.training:
            continue_tracking(trainer.loggers, RunFolder(self.run_dir).record)
        if self.training:
            keep_freed_memory()
            # A later test must not replace the file.
            trainer.loggers = [self.metrics_file, *trainer.loggers]
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        self.trainer = trainer
        return trainer

    def _callbacks(self, trainer: Any, model: TaskModule, named: list[Callback]) -> list[Callback]:
        check_callbacks(named, model)
        given, options = trainer.callbacks, self.options
        replaced = [c for c in given if isinstance(c, (ProgressBar, ModelCheckpoint)) and c not in named]
        own: list[Callback] = [self.trunk_cache, self.teacher_cache, self.loss_log, self.cost, self.predictions]
        own += [RandomState(options.seed), KeepWeights(self.resumed)]
        if options.patience is not None and not any(isinstance(c, EarlyStopping) for c in given):
            ignored = {"check_on_train_epoch_end": False, "check_finite": False}  # NaN only counts as no improvement
            own.append(EarlyStopping(model.monitor, mode=model.mode, patience=options.patience, **ignored))
        if not trainer.fast_dev_run:
            own += [BestCheckpoint(self.run_dir, model.monitor, model.mode, self.resumed), self.last]
        if self.training:
            own += [ProgressFile(self.run_dir), *([] if self.resumed else [NewSettings()])]
        if any(isinstance(c, ProgressBar) for c in replaced):
            own.append(progress_display(self.loss_log, self.cost, model.monitor))
        own.append(self.interruption)
        if named:
            own.append(MonitoredMetrics(named))
        first = [TrainingChecks()] if self.training and options.training_checks else []  # before the callbacks that it checks
        callbacks = [*first, *(c for c in given if c not in replaced), *own]
        return sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))  # they save what others did
