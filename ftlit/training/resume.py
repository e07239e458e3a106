"""Exact resume: random states, and a checkpoint from which a run continues as if it had never stopped."""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from ftlit.errors import UserError
from ftlit.runs.files import BEST, LAST
from ftlit.runs.metrics_file import MetricsFile
from ftlit.training.distributed import every_rank
from ftlit.util.options import option
from ftlit.util.private import is_accumulating, restore_loaders, validation_is_due
from ftlit.util.settings import flat


def check_same_config(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that a run is resumed with the same config. Otherwise the checkpoint or config.yaml would not match the model.

    Args:
        then: The run's config with all defaults.
        now: The config of the command.

    Raises:
        UserError: The configs differ; the message lists the changes.
    """
    before, after = ({key: value for key, value in flat(whole) if _must_match(key)} for whole in (then, now))
    changed = [key for key in {**before, **after} if not option(key).moves and before.get(key) != after.get(key)]
    classes = [key.removesuffix("class_path") for key in changed if key.endswith(".class_path")]
    changed = [key for key in changed if key.endswith(".class_path") or not key.startswith(tuple(classes))]
    if changed:
        said = "; ".join(f"{key.removesuffix('.class_path')} was {before.get(key)}, is {after.get(key)}" for key in changed)
        raise UserError(
            f"--resume continues exactly where the run stopped, but {said}; undo the change, train again with --overwrite, or "
            "start from the weights of the run in another --run_dir with --model.init_from"
        )


def _must_match(key: str) -> bool:
    """Whether the checkpoint or the results of the run depend on a key. Options of the data are compared by their content."""
    return key.startswith("model.") or "training" in option(key).affects


class RandomState(Callback):
    """Saves the random state of every rank in checkpoints, so that a resumed run draws the same numbers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._pending: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is None:  # each rank has its own dropout
            seed = self.seed + trainer.global_rank
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        own = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": _numpy_state()}
        if torch.cuda.is_available():
            own["cuda"] = torch.cuda.get_rng_state(trainer.strategy.root_device) if _on_gpu(trainer) else None
        checkpoint["random_states"] = every_rank(trainer, own)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("random_states", [])
        if trainer.state.fn == "fit" and len(states) == trainer.world_size:
            self._pending = states[trainer.global_rank]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._pending is None:
            return
        state, self._pending = self._pending, None
        torch.set_rng_state(state["torch"].cpu().clone())  # a view with an offset would crash
        random.setstate(_as_tuple(state["python"]))
        kind, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        if state.get("cuda") is not None and _on_gpu(trainer):
            torch.cuda.set_rng_state(state["cuda"].cpu().clone(), trainer.strategy.root_device)


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

    Args:
        run_dir: The run's folder.
        every_n_steps: Number of optimizer steps between two checkpoints; None for ten minutes.
        metrics: The file whose number of rows is saved in the checkpoint, so that a resumed run logs no row twice.
        keep: Whether to keep the file after the run. Otherwise, the checkpoint at the end of training is skipped if the last
            one, or the start, is less than a minute ago. At most this minute is lost if the evaluation is interrupted.
    """

    minutes = 10.0

    def __init__(self, run_dir: Path, every_n_steps: int | None, metrics: MetricsFile, keep: bool = True) -> None:
        self.path, self.every_n_steps, self.metrics, self.keep = run_dir / LAST, every_n_steps, metrics, keep
        self._time, self._step = time.monotonic(), -1
        self.stopped = self._late = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._time, self._step = time.monotonic(), trainer.global_step
        # The loader was created before its state was read, because the schedule needs the number of steps.
        restore_loaders(trainer)
        if self.stopped:  # the run was killed after early stopping had decided
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if is_accumulating(trainer) or step == self._step or step == trainer.max_steps:
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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        # Accumulated gradients are not part of checkpoints, so the checkpoint waits for their optimizer step.
        self._late = is_accumulating(trainer) and not trainer.should_stop
        ends = trainer.should_stop or trainer.global_step >= pl_module.total_steps  # type: ignore[operator]
        if not self._late and not (ends and self._spared(trainer)):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._step and not self._spared(trainer):
            self.save(trainer)

    def _spared(self, trainer: Trainer) -> bool:
        """Whether to skip the checkpoint at the end of training; never with several ranks, whose clocks differ."""
        return not self.keep and trainer.world_size == 1 and time.monotonic() - self._time < 60

    def save(self, trainer: Trainer) -> None:
        """Write metrics.csv, then the checkpoint."""
        self.metrics.save()
        trainer.save_checkpoint(self.path)
        self._time, self._step, self._late = time.monotonic(), trainer.global_step, False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics_rows"], checkpoint["stopped"] = len(self.metrics.rows), trainer.should_stop
        checkpoint["order"] = trainer.datamodule.resume_signature(trainer)  # type: ignore[attr-defined]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and "metrics_rows" in checkpoint:
            self.metrics.truncate(checkpoint["metrics_rows"])
            self.stopped = checkpoint["stopped"]
