"""Measure the cost of training in time, memory and operations, across interruptions."""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from ftlit.training.distributed import every_rank
from ftlit.training.flops import Flops, compute_dtype, matmul_peak
from ftlit.util.batch import FILLER

SAVED = ("seconds", "evaluation", "examples", "tokens", "validations", "memory")


class Cost(Callback):
    """Measures seconds, examples, tokens without padding, operations and peak memory of training on this device."""

    def __init__(self) -> None:
        self.seconds, self.evaluation, self.examples, self.tokens = 0.0, 0.0, 0, 0
        self.memory = {"peak_memory_bytes": 0}
        self.validations: dict[int, float] = {}  # seconds of training before the validation at each step
        self.flops = Flops()
        self._mark = 0.0

    # Over interruptions

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        own = {name: getattr(self, name) for name in SAVED}
        checkpoint["cost"] = every_rank(trainer, {**own, "memory": self._memory(trainer), "flops": self.flops.state()})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("cost", [])
        if trainer.state.fn == "fit" and len(states) == trainer.world_size:
            own = dict(states[trainer.global_rank])
            self.flops.load(own.pop("flops"))
            vars(self).update(own)

    # During training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._mark:
            self._mark = time.monotonic()
        self._batch_tokens = padded_tokens(batch, pl_module)
        self.flops.before_forward(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        self.flops.before_backward(self._batch_tokens)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flops.after_backward(self._batch_tokens)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.flops.stop()
        self.seconds, self._mark = self.seconds + time.monotonic() - self._mark, time.monotonic()
        if batch["loss_denominator"] != FILLER:
            self.examples += len(batch["ids"])
            self.tokens += batch["tokens"]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.flops.stop()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark, self._begun = 0.0, time.monotonic()

    on_test_start = on_validation_start

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluation += time.monotonic() - self._begun

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluation += time.monotonic() - self._begun
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.validations[trainer.global_step] = self.seconds

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.memory = self._memory(trainer)

    def _memory(self, trainer: Trainer) -> dict[str, int]:
        now = peak_memory(trainer.strategy.root_device)
        return {name: max(value, self.memory.get(name, 0)) for name, value in now.items()}

    # Findings

    def rate(self) -> float:
        """Examples per second on this device."""
        return self.examples / self.seconds if self.seconds else 0.0

    def totals(self, trainer: Trainer, best_step: int | None) -> dict[str, float | None]:
        """The cost over all devices; every rank must call it.

        Args:
            trainer: The trainer after training.
            best_step: The optimizer step of the best checkpoint; None if there is no checkpoint.
        """
        strategy, rows = trainer.strategy, len(trainer.datamodule.encoded["train"])  # type: ignore[attr-defined]
        peak = matmul_peak(strategy.root_device, compute_dtype(str(trainer.precision)))
        own = torch.tensor([self.examples, self.tokens, *self.flops.total(), peak], dtype=torch.float64)
        sums = strategy.reduce(own.to(strategy.root_device), reduce_op="sum").tolist()
        examples, tokens, forward, backward, peak = sums
        memory = torch.tensor(list(self.memory.values()), dtype=torch.float64, device=strategy.root_device)
        most = strategy.reduce(memory, reduce_op="max").tolist()
        seconds = self.seconds or float("nan")
        return {
            "train_seconds": self.seconds,
            "evaluation_seconds": self.evaluation,
            "seconds_per_epoch": _known(self.seconds / examples * rows if examples else 0.0),
            "seconds_to_best": None if best_step is None else self.validations.get(best_step),
            "examples_per_second": examples / seconds,
            "tokens_per_second": tokens / seconds,
            **{name: int(value) for name, value in zip(self.memory, most, strict=True)},
            "forward_flops": _known(forward),
            "backward_flops": _known(backward),
            "matmul_peak_flops_per_second": peak,
            "matmul_peak_share": _known((forward + backward) / (seconds * peak)),
        }


def _known(value: float) -> float | None:
    return value if value == value else None  # JSON has no NaN


def padded_tokens(batch: dict[str, Any], module: Any) -> int:
    """Number of tokens of a batch that the model processes, padding included: texts, targets and unlabelled texts."""
    count = batch["input_ids"].numel()
    if "unlabelled" in batch:
        count += batch["unlabelled"]["input_ids"].numel()
    decodes = getattr(getattr(module.model, "config", None), "is_encoder_decoder", False)
    return count + (batch["labels"].numel() if decodes else 0)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak memory so far in bytes: allocated and reserved memory of a GPU, else the resident memory of this process."""
    if device.type == "cuda":
        reserved = torch.cuda.max_memory_reserved(device)
        return {"peak_memory_bytes": torch.cuda.max_memory_allocated(device), "peak_reserved_bytes": reserved}
    try:
        import resource
    except ImportError:  # Windows
        return {"peak_memory_bytes": 0}
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def cost_text(cost: dict[str, Any]) -> str:
    """Format the cost of a run in two lines.

    Args:
        cost: `efficiency` of results.json.
    """
    best = f", the best after {cost['seconds_to_best']:.0f} s" if cost["seconds_to_best"] is not None else ""
    epoch = f"{cost['seconds_per_epoch']:.0f} s an epoch" if cost["seconds_per_epoch"] else "no epoch"
    lines = [
        f"{cost['train_seconds']:.0f} s of training ({epoch}{best}), {cost['examples_per_second']:.0f} examples/s, "
        f"{cost['tokens_per_second']:.0f} tokens/s, {cost['peak_memory_bytes'] / 2**20:.0f} MiB at most",
        f"{cost['trained_parameters']:,} weights trained ({cost['trained_share']:.2%})",
    ]
    if cost["trunk_seconds"] >= 1:
        lines[0] += f", and {cost['trunk_seconds']:.0f} s to compute and store the states of the frozen layers"
    if cost["teacher_seconds"] >= 1:
        lines[0] += f", and {cost['teacher_seconds']:.0f} s to compute the teacher's outputs"
    if cost["checkpoint_bytes"]:
        lines[1] += f", {cost['checkpoint_bytes'] / 2**20:.1f} MiB a checkpoint"
    if cost["matmul_peak_share"] is not None:
        lines[1] += (
            f", {cost['forward_flops']:.2e} FLOPs forward and {cost['backward_flops']:.2e} backward, "
            f"{cost['matmul_peak_share']:.0%} of what matrix products reach here"
        )
    return "\n".join(lines)
