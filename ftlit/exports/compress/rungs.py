"""The rungs of a ladder: what each method costs and loses beside the run, and which of them are good enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ftlit.exports.compress.evaluate import Judge, agreement, fits
from ftlit.exports.compress.measure import PERCENTILES, Measured
from ftlit.exports.compress.methods import METHODS, ORIGINAL


@dataclass(frozen=True)
class Rung:
    """A form of a run.

    Args:
        method: Name of the method; `original` for the run itself.
        size: Bytes on the disk; of the original, those of its weights.
        measured: What it costs, and what it answers.
        metric: Value of the metric.
        difference: The metric minus that of the original.
        interval: The 95% interval of the difference; None if predictions do not tell.
        agreement: Share of answers that are those of the original; None if answers are numbers.
        loss: How much worse the metric is than that of the original, in the unit of `--max_drop`.
        passes: Whether the loss is at most `--max_drop`.
        kept: Layers that keep float32.
    """

    method: str
    size: int
    measured: Measured
    metric: float
    difference: float
    interval: tuple[float, float] | None
    agreement: float | None
    loss: float
    passes: bool
    kept: list[str]

    def record(self) -> dict[str, Any]:
        """What compression.json says of the rung; numbers that are not finite are null."""
        found = {
            "method": self.method,
            "description": METHODS[self.method].text if self.method in METHODS else "the run, as ftlit.load opens it",
            "bytes": self.size,
            "resident_bytes": self.measured.memory,
            "latency_ms": {
                str(size): {f"p{p}": value for p, value in zip(PERCENTILES, values, strict=True)}
                for size, values in self.measured.latency.items()
            },
            "rows_per_second": {str(size): value for size, value in self.measured.rows_per_second.items()},
            "agreement": self.agreement,
            "metric": self.metric,
            "difference": self.difference,
            "interval": self.interval,
            "loss": self.loss,
            "passes": self.passes,
            "float32_layers": self.kept,
        }
        return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in found.items()}


def rungs(
    measured: Mapping[str, Measured], sizes: Mapping[str, int], judge: Judge, max_drop: float | None, kept: list[str]
) -> list[Rung]:
    """Compare each form of a run with the run.

    Args:
        measured: What was measured, by method; the original is among them.
        sizes: Bytes by method.
        judge: What decides how much worse one is.
        max_drop: The largest loss that passes; None if all do.
        kept: Layers of `onnx-int8` that keep float32.
    """
    one = measured[ORIGINAL].evaluated
    found = []
    for method, cost in measured.items():
        other = cost.evaluated
        loss = judge.loss(one, other)
        found.append(
            Rung(
                method,
                sizes[method],
                cost,
                other.metrics[judge.metric],
                judge.difference(one, other),
                None if method == ORIGINAL else judge.interval(one, other),
                agreement(judge.kind, one.rows, other.rows),
                loss,
                method == ORIGINAL or fits(loss, max_drop),
                kept if method == "onnx-int8" else [],
            )
        )
    return found
