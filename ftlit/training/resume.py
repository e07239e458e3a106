"""Exact resume: random states, and a checkpoint from which a run continues as if it had never stopped."""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, Timer

from ftlit.runs.files import BEST, LAST
from ftlit.runs.metrics_file import MetricsFile
from ftlit.training.distributed import every_rank
from ftlit.util.private import (
    forget_rewound_batches,
    is_accumulating,
    restore_loaders,
    rewind_validation,
    training_ends,
    validate_at_the_end,
    validation_is_due,
)


class RandomState(Callback):
    """Saves the random state of every rank in checkpoints, so that a resumed run draws the same numbers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._pending: dict[str, Any] | None = None
        self._before_validation: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is None:  # each rank has its own dropout
            seed = self.seed + trainer.global_rank
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A validation that is not finished begins again.
        checkpoint["random_states"] = every_rank(trainer, self._before_validation or _random_state(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._restore(trainer)
            self._before_validation = _random_state(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("random_states", [])
        if trainer.state.fn == "fit" and len(states) == trainer.world_size:
            self._pending = states[trainer.global_rank]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._restore(trainer)

    def _restore(self, trainer: Trainer) -> None:
        if self._pending is None:
            return
        state, self._pending = self._pending, None
        torch.set_rng_state(state["torch"].cpu().clone())  # a view with an offset would crash
        random.setstate(_as_tuple(state["python"]))
        kind, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        if state.get("cuda") is not None and _on_gpu(trainer):
            torch.cuda.set_rng_state(state["cuda"].cpu().clone(), trainer.strategy.root_device)


def _random_state(trainer: Trainer) -> dict[str, Any]:
    own = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": _numpy_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state(trainer.strategy.root_device) if _on_gpu(trainer) else None
    return own


def _numpy_state() -> list[Any]:
    kind, keys, *rest = np.random.get_state()  # type: ignore[misc]
    return [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]  # types that load with weights_only


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, (list, tuple)) else value


def _on_gpu(trainer: Trainer) -> bool:
    return trainer.strategy.root_device.type == "cuda"


class BestCheckpoint(ModelCheckpoint):
    """Writes ``checkpoints/best.ckpt``, the weights at the best validation.

    Args:
        run_dir: The run's folder.
        monitor: Metric that decides which checkpoint is best.
        mode: Whether lower (`min`) or higher (`max`) values of the metric are better.
        resumed: Whether training resumes from the run's own checkpoint. Only in this case, the best score is restored, even
            if the folder has been moved.
    """

    def __init__(self, run_dir: Path, monitor: str, mode: str, resumed: bool) -> None:
        self.resumed = resumed
        super().__init__(
            dirpath=run_dir / Path(BEST).parent,
            filename=Path(BEST).stem,
            monitor=monitor,
            mode=mode,
            save_weights_only=True,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self.resumed:
            return
        paths = {key: self._here(path) for key, path in state_dict.items() if key.endswith("_path")}
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` at every validation, every n steps or ten minutes, and at the end of training.

    Training always ends with a validation, so that its last steps may be the best.

    Args:
        run_dir: The run's folder.
        every_n_steps: Number of optimizer steps between two checkpoints; None for ten minutes.
        metrics: The file whose number of rows is saved in the checkpoint, so that a resumed run logs no row twice.
        resumed: Whether training resumes from the run's own checkpoint.
        keep: Whether to keep the file after the run. Otherwise, the checkpoints after a validation and at the end of training
            are skipped if the last one, or the start, is less than a minute ago and `every_n_steps` is None. At most this
            minute is lost if the run is interrupted.
    """

    minutes = 10.0

    def __init__(
        self, run_dir: Path, every_n_steps: int | None, metrics: MetricsFile, resumed: bool = False, keep: bool = True
    ) -> None:
        self.path, self.every_n_steps, self.metrics, self.keep = run_dir / LAST, every_n_steps, metrics, keep
        self.resumed, self.step = resumed, -1
        self._time = time.monotonic()
        self.stopped = self._late = self._validating = self._validated = self._unfinished = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            validate_at_the_end(trainer, lambda: self._validated)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._time, self.step = time.monotonic(), trainer.global_step
        # The loader was created before its state was read, because the schedule needs the number of steps.
        restore_loaders(trainer)
        if self.stopped:  # the run was killed after early stopping had decided
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if is_accumulating(trainer) or step == self.step or step == trainer.max_steps:
            return
        if validation_is_due(trainer):
            return  # validation follows and saves; a run resumed from here would skip it
        if self._late or (step % self.every_n_steps == 0 if self.every_n_steps else self._time_is_up(trainer)):
            self.save(trainer)

    def _time_is_up(self, trainer: Trainer) -> bool:
        up = time.monotonic() - self._time > 60 * self.minutes
        if trainer.world_size == 1:
            return up
        # The ranks agree, but not at every step.
        return trainer.global_step % 16 == 0 and trainer.strategy.reduce_boolean_decision(up, all=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self._validating:
            forget_rewound_batches(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._validating:
            return
        # Accumulated gradients are not part of checkpoints, so the checkpoint waits for their optimizer step.
        self._late = is_accumulating(trainer) and not trainer.should_stop
        unasked = self.every_n_steps is None or training_ends(trainer)
        if not self._late and not (unasked and self._spared(trainer)):
            self.save(trainer)
        self._validating = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.save()
        if trainer.global_step != self.step and not self._spared(trainer):
            self.save(trainer)

    def _spared(self, trainer: Trainer) -> bool:
        """Whether to skip a checkpoint; never with several ranks, whose clocks differ."""
        seconds = time.monotonic() - self._time
        return not self.keep and trainer.world_size == 1 and seconds < 60 and bool(trainer.enable_validation)

    def save(self, trainer: Trainer, unfinished_validation: bool = False) -> None:
        """Write metrics.csv, then the checkpoint.

        Args:
            trainer: The trainer.
            unfinished_validation: Whether a validation is interrupted, with which training will continue.
        """
        self._unfinished = unfinished_validation
        self.metrics.save()
        trainer.save_checkpoint(self.path)
        self._time, self.step, self._late = time.monotonic(), trainer.global_step, False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics_rows"], checkpoint["validated"] = len(self.metrics.rows), self._validating
        # A time limit is looked at again when training continues, perhaps with more time.
        checkpoint["stopped"] = trainer.should_stop and not time_is_over(trainer)
        checkpoint["order"] = trainer.datamodule.resume_signature(trainer)  # type: ignore[attr-defined]
        checkpoint["optimized"] = optimized_names(trainer)
        if self._unfinished:
            rewind_validation(checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and self.resumed:
            self.metrics.truncate(checkpoint["metrics_rows"])
            self.stopped = checkpoint["stopped"]
        self._validated = trainer.state.fn == "fit" and checkpoint.get("validated", False)


def time_is_over(trainer: Trainer) -> bool:
    """Whether trainer.max_time has ended training."""
    left = [callback.time_remaining() for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    return any(seconds is not None and seconds <= 0 for seconds in left)


def optimized_names(trainer: Trainer) -> list[str]:
    """The names of the weights in the optimizer, in the order of its state."""
    names = {id(weight): name for name, weight in trainer.lightning_module.named_parameters()}
    return [names.get(id(weight), "") for group in trainer.optimizers[0].param_groups for weight in group["params"]]


class NewSettings(Callback):
    """Lets the config decide the settings of a run that continues from the checkpoint of another run.

    Lightning would restore learning rates, weight decay and patience from the checkpoint. What is kept is the state: of each
    weight in the optimizer, as far as the optimizer is the same, and the position in the schedule.
    """

    def __init__(self) -> None:
        self._checkpoint: dict[str, Any] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self._checkpoint = checkpoint
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, (EarlyStopping, Timer)):
                    checkpoint["callbacks"].pop(callback.state_key, None)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the settings in the checkpoint before Lightning restores optimizers and schedules from it."""
        if (checkpoint := self._checkpoint) is None:
            return
        self._checkpoint = None
        (optimizer,), (schedule,) = trainer.optimizers, trainer.lr_scheduler_configs
        position, own = checkpoint["lr_schedulers"][0], optimizer.state_dict()
        state = _moved(checkpoint, own["param_groups"], optimized_names(trainer))
        rates = schedule_rates(schedule.scheduler, position["last_epoch"])
        groups = [{**group, "lr": rate} for group, rate in zip(own["param_groups"], rates, strict=True)]
        checkpoint["optimizer_states"] = [{"state": state, "param_groups": groups}]
        kept = {name: position[name] for name in ("last_epoch", "_step_count")}
        checkpoint["lr_schedulers"] = [{**schedule.scheduler.state_dict(), **kept, "_last_lr": rates}]


def _moved(checkpoint: dict[str, Any], groups: list[dict[str, Any]], names: list[str]) -> dict[int, Any]:
    """The states of the optimizer in a checkpoint in the order of these names; none if the optimizer is of another class."""
    saved = checkpoint["optimizer_states"][0]
    if saved["param_groups"][0].keys() != groups[0].keys():
        return {}
    numbers = {name: number for number, name in enumerate(checkpoint.get("optimized", names))}
    return {new: saved["state"][old] for new, name in enumerate(names) if (old := numbers.get(name)) in saved["state"]}


def schedule_rates(scheduler: Any, position: int) -> list[float]:
    """The learning rate of each parameter group after a number of steps."""
    return [base * factor(position) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
