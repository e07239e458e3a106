"""The estimated time, memory and disk of a run."""

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True)
class Preview:
    """Estimates for a run on this machine. The run may be shorter because of early stopping.

    Args:
        rows: Number of examples of each split.
        steps_per_epoch: Number of optimizer steps per epoch.
        steps: Total number of optimizer steps.
        tokens: Tokens of the ``median`` and of the ``longest`` step of the first epoch on a device, padding included.
        step_seconds: Seconds of the median and of the longest step.
        train_seconds: Seconds of all steps.
        validations: Number of validations during training.
        validation_seconds: Seconds of each validation.
        evaluation_seconds: Seconds of the evaluation of a checkpoint, by split.
        untrained: Whether the untrained model is evaluated too.
        setup_seconds: Seconds from the start of the command to the first step.
        peak_memory_bytes: Peak memory: allocated memory of a GPU, else resident memory of the process.
        peak_reserved_bytes: Memory that PyTorch reserved on a GPU; None on other devices.
        memory_bytes: Memory of the device.
        best_bytes: Size of the best checkpoint.
        last_bytes: Size of the last checkpoint, with the optimizer's state.
        prediction_bytes: Size of the predictions by split.
        recomputed: Whether layers are computed again in the backward pass, as model.gradient_checkpointing asks.
        recomputation: Bytes that the longest batch keeps for its backward pass and seconds of both passes, `with` gradient
            checkpointing and `without`; None where memory runs out.
        problem: Why the run does not fit into memory, as a sentence, in which case nothing else is known; None if it fits.
    """

    rows: dict[str, int] = field(default_factory=dict)
    steps_per_epoch: int = 0
    steps: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    step_seconds: dict[str, float] = field(default_factory=dict)
    train_seconds: float = 0.0
    validations: int = 0
    validation_seconds: float = 0.0
    evaluation_seconds: dict[str, float] = field(default_factory=dict)
    untrained: bool = False
    setup_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_reserved_bytes: int | None = None
    memory_bytes: int = 0
    best_bytes: int = 0
    last_bytes: int = 0
    prediction_bytes: dict[str, int] = field(default_factory=dict)
    recomputed: bool = False
    recomputation: dict[str, dict[str, float] | None] = field(default_factory=dict)
    problem: str | None = None

    @property
    def held_bytes(self) -> int:
        """Memory that must be free for the run."""
        return self.peak_reserved_bytes or self.peak_memory_bytes

    def seconds(self, splits: list[str], part: float = 1.0) -> float:
        """Seconds of the whole run, including the evaluation of the best checkpoint on the given splits.

        Args:
            splits: The splits.
            part: The part of its full length that the run trains for.
        """
        evaluations = sum(self.evaluation_seconds.get(split, 0.0) for split in splits)
        during = self.train_seconds + self.validations * self.validation_seconds
        return self.setup_seconds + during * part + evaluations * (2 if self.untrained else 1)

    def predictions(self, splits: list[str]) -> int:
        """Size in bytes of the predictions for the given splits."""
        return sum(self.prediction_bytes.get(split, 0) for split in splits)

    def record(self, splits: list[str]) -> dict[str, Any]:
        """The estimates with the names that are used in results.json."""
        return {**asdict(self), "seconds": self.seconds(splits), "checkpoint_bytes": self.best_bytes}

    def text(self, splits: list[str]) -> str:
        """Format the estimates as a table.

        Args:
            splits: Splits on which the best checkpoint is evaluated.
        """
        if self.problem is not None:
            return f"Plan: {self.problem}"
        rows = ", ".join(f"{count:,} {split}" for split, count in self.rows.items())
        disk = f"best.ckpt {mebibytes(self.best_bytes)}, last.ckpt {mebibytes(self.last_bytes)}"
        table = [
            ["rows", rows],
            ["steps", f"{self.steps_per_epoch:,} an epoch, {self.steps:,} in all unless early stopping ends them"],
            ["a step", ", ".join(map(self._step, ("median", "longest")))],
            ["training", clock(self.train_seconds)],
            ["evaluation", self._evaluations(splits)],
            ["in all", f"{clock(self.seconds(splits))}, or {self.seconds(splits) / 3600:.2f} hours"],
            ["memory", self._memory()],
            ["activations", self._activations()],
            ["disk", f"{disk}, predictions {mebibytes(self.predictions(splits))}"],
        ]
        return f"Plan\n{tabulate(table, tablefmt='plain')}"

    def _step(self, kind: str) -> str:
        return f"{self.step_seconds[kind]:.3f} s for the {kind} batch ({self.tokens[kind]:,} tokens with padding)"

    def _evaluations(self, splits: list[str]) -> str:
        during = f"{self.validations} validations of {self.validation_seconds:.1f} s"
        best = ", ".join(f"{split} in {self.evaluation_seconds.get(split, 0.0):.1f} s" for split in splits)
        return f"{during}; the best checkpoint on {best}" + (", and so the untrained model" if self.untrained else "")

    def _memory(self) -> str:
        kind = "resident" if self.peak_reserved_bytes is None else "allocated"
        parts = [f"{mebibytes(self.peak_memory_bytes)} {kind} at most"]
        if self.peak_reserved_bytes is not None:
            parts.append(f"{mebibytes(self.peak_reserved_bytes)} reserved")
        own = f"{', '.join(parts)}; the device has {mebibytes(self.memory_bytes)}"
        return own if self.held_bytes <= self.memory_bytes else f"{own}: this will not fit"

    def _activations(self) -> str:
        def said(name: str) -> str:
            found = self.recomputation[name]
            cost = f"{mebibytes(found['bytes'])} in {found['seconds']:.3f} s" if found else "more memory than the device has"
            return f"{cost} {name} gradient checkpointing" + (" (as set)" if self.recomputed == (name == "with") else "")

        return "for the longest batch " + ", ".join(map(said, self.recomputation))


def clock(seconds: float) -> str:
    """Format a duration as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def mebibytes(count: float) -> str:
    """Format a number of bytes in MiB, or in KiB if it is small."""
    return f"{count / 2**20:,.0f} MiB" if count >= 2**20 else f"{count / 2**10:,.0f} KiB"
