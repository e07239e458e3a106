"""What runs beside the training loop: loss log, exact resume, cost, predictions, progress."""

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, TQDMProgressBar
from torch import Tensor

from ftlit.checkpoint import LAST
from ftlit.errors import UserError
from ftlit.files import write_text
from ftlit.run import MetricsFile


class LossLog(Callback):
    """Logs the loss of whole optimizer steps, over all devices, and stops at once when it is no number."""

    def __init__(self) -> None:
        self.latest = float("nan")
        self._sum: Tensor | None = None
        self._unchecked: tuple[int, Tensor, Tensor] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.check(trainer)  # of the batch before, whose loss is ready by now, so that a GPU does not wait
        loss = outputs["loss"].detach()
        self._unchecked = (trainer.global_step, batch["ids"], loss)
        self._sum = loss if self._sum is None else self._sum + loss
        if trainer.fit_loop._should_accumulate():
            return
        total, self._sum = self._sum, None
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.check(trainer)
            self.latest = float(trainer.strategy.reduce(total, reduce_op="mean"))
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            values = {"train/loss": self.latest, "train/lr": rate, "epoch": trainer.current_epoch}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)

    def check(self, trainer: Trainer) -> None:
        """Stop if the last loss is not finite.

        Raises:
            UserError: With the step and the ids of the batch's examples.
        """
        if self._unchecked is None:
            return
        (step, ids, loss), self._unchecked = self._unchecked, None
        if not torch.isfinite(loss):
            names = trainer.datamodule.rows["train"].select(ids.tolist())["row_id"]  # type: ignore[attr-defined]
            raise UserError(
                f"the loss is {float(loss)} at step {step}, on the examples {', '.join(names)}; no checkpoint of it was "
                "written (try a lower model.optimizer.init_args.lr, trainer.gradient_clip_val, or trainer.precision: 32-true)"
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.check(trainer)


class RandomState(Callback):
    """Keeps every rank's random state in checkpoints, so that a resumed run draws the same numbers."""

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
        states: list[Any] = [own]
        if trainer.world_size > 1:
            states = [None] * trainer.world_size
            torch.distributed.all_gather_object(states, own)
        checkpoint["random_states"] = states

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


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` at every validation, every n steps or ten minutes, and at the end of training.

    Args:
        run_dir: The run's folder.
        every_n_steps: Optimizer steps from one to the next; None for ten minutes.
        metrics: Whose rows are saved with the checkpoint, so that a resumed run logs none twice.
    """

    minutes = 10.0

    def __init__(self, run_dir: Path, every_n_steps: int | None, metrics: MetricsFile) -> None:
        self.path, self.every_n_steps, self.metrics = run_dir / LAST, every_n_steps, metrics
        self._time, self._step = time.monotonic(), -1
        self.stopped = self._late = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._time, self._step = time.monotonic(), trainer.global_step
        # The loader is older than its state: the schedule asks for the number of steps before the state is read.
        trainer.fit_loop._load_combined_loader_states()
        if self.stopped:  # the run was killed after early stopping had decided
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, loop = trainer.global_step, trainer.fit_loop
        if loop._should_accumulate() or step == self._step or step == trainer.max_steps:
            return
        if loop.epoch_loop._should_check_val_fx(loop._data_fetcher):  # type: ignore[arg-type]
            return  # validation comes next and saves; a run resumed from before it would leave it out
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
        # Gradients that wait for more batches are in no checkpoint, so it waits for their step.
        self._late = trainer.fit_loop._should_accumulate() and not trainer.should_stop
        if not self._late:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._step:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, the rows of metrics.csv first."""
        self.metrics.save()
        trainer.save_checkpoint(self.path)
        self._time, self._step, self._late = time.monotonic(), trainer.global_step, False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics_rows"], checkpoint["stopped"] = len(self.metrics.rows), trainer.should_stop
        checkpoint["order"] = trainer.datamodule.order(trainer)  # type: ignore[attr-defined]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and "metrics_rows" in checkpoint:
            self.metrics.go_back(checkpoint["metrics_rows"])
            self.stopped = checkpoint["stopped"]


class Cost(Callback):
    """What training costs: seconds, examples, tokens that are not padding, peak memory; kept over interruptions."""

    def __init__(self) -> None:
        self.seconds, self.examples, self.tokens, self.memory = 0.0, 0, 0, 0
        self._mark = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds, "examples": self.examples, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.examples, self.tokens = (state_dict[key] for key in ("seconds", "examples", "tokens"))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._mark:
            self._mark = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds, self._mark = self.seconds + time.monotonic() - self._mark, time.monotonic()
        if batch["normalizer"] != float("inf"):
            self.examples += len(batch["ids"])
            self.tokens += batch["tokens"]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = 0.0

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.memory = peak_memory()

    def rate(self) -> float:
        """Examples a second on this device."""
        return self.examples / self.seconds if self.seconds else 0.0

    def totals(self, trainer: Trainer) -> dict[str, float]:
        """The cost over all devices; the same call on every rank."""
        counts = torch.tensor([self.examples, self.tokens], device=trainer.strategy.root_device)
        examples, tokens = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        seconds = self.seconds or float("nan")
        memory = torch.tensor(float(self.memory), device=trainer.strategy.root_device)
        return {
            "train_seconds": self.seconds,
            "examples_per_second": examples / seconds,
            "tokens_per_second": tokens / seconds,
            "peak_memory_bytes": int(trainer.strategy.reduce(memory, reduce_op="max")),
        }


def peak_memory() -> int:
    """The most memory held so far, in bytes: allocated on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Predictions(Callback):
    """Writes ``predictions/<split>.jsonl`` after an evaluation, a line an example in the order of the split.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / "predictions"
        self.enabled = True
        self._found: dict[int, dict[str, Any]] = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.enabled and outputs is not None and trainer.state.fn in ("validate", "test"):
            self._found.update(zip(batch["ids"].tolist(), pl_module.decode(outputs), strict=True))

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.write(trainer, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, "test")

    def write(self, trainer: Trainer, split: str) -> None:
        """Bring together what the ranks found and write it; the same call on every rank."""
        found, self._found = self._found, {}
        if not self.enabled:
            return
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, found)
            found = {key: value for part in parts for key, value in part.items()}
        if trainer.is_global_zero:
            data = trainer.datamodule  # type: ignore[attr-defined]
            rows = data.rows[split]
            lines = [json.dumps({**data.shown(rows[i]), **found[i]}, ensure_ascii=False) for i in sorted(found)]
            write_text(self.folder / f"{split}.jsonl", "\n".join(lines) + "\n")
        trainer.strategy.barrier()


class Progress(TQDMProgressBar):
    """A progress bar with loss, the monitored metric and examples a second.

    Args:
        loss: Whose latest loss is shown.
        cost: Whose rate is shown.
        monitor: The metric to show.
    """

    def __init__(self, loss: LossLog, cost: Cost, monitor: str) -> None:
        super().__init__(refresh_rate=10)
        self.loss, self.cost, self.monitor = loss, cost, monitor

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown: dict[str, Any] = {"loss": f"{self.loss.latest:.3f}"}
        if self.monitor in trainer.callback_metrics:
            shown[self.monitor] = f"{float(trainer.callback_metrics[self.monitor]):.4f}"
        return {**shown, "examples/s": f"{self.cost.rate() * trainer.world_size:.0f}"}
