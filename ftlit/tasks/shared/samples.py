"""Generate texts in an evaluation, and print a few of them."""

from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError
from ftlit.runs.loggers import send_samples

if TYPE_CHECKING:
    from lightning import LightningModule


SAMPLES, SHOWN_CHARACTERS = 3, 200


def check_schedule(every: int, monitor: str, generated: Sequence[str]) -> None:
    """Check the settings that decide when texts are generated.

    Args:
        every: Number of epochs between two validations that generate texts.
        monitor: The monitored metric.
        generated: Metrics that need generated texts.

    Raises:
        UserError: The monitored metric would be missing from a validation.
    """
    if every > 1 and monitor.removeprefix("val/") in generated:
        raise UserError(
            f"model.monitor {monitor!r} needs generated texts at every validation; set model.generate_every_n_epochs: 1"
        )


class GenerationQueue:
    """Generates texts at the end of an evaluation, in batches as large as the evaluation's.

    Since the evaluation's batches are sorted by length, the first rows of a split, for which texts are generated during
    training, are spread over many of them.
    """

    def __init__(self) -> None:
        self.rows = self.tokens = 1

    def observe(self, batch: dict[str, Any]) -> None:
        """Record the size of an evaluation batch, which limits the size of batches for generation."""
        rows, longest = batch["input_ids"].shape
        self.rows, self.tokens = max(self.rows, rows), max(self.tokens, rows * longest)

    def generate(
        self,
        task: "LightningModule",
        parts: list[dict[str, Any]],
        texts: Callable[[list[dict[str, list[int]]]], list[str]],
    ) -> None:
        """Replace each `source` by a generated text as `prediction`.

        Args:
            task: The task, whose trainer sets the precision of the model.
            parts: Predictions. Those with a `source`, the model inputs of a row, need a text.
            texts: Function that generates the texts of sources.
        """
        waiting = sorted((part for part in parts if "source" in part), key=lambda part: len(part["source"]["input_ids"]))
        while waiting:  # longest first, so that memory runs out at once or never
            count = max(1, min(self.rows, self.tokens // len(waiting[-1]["source"]["input_ids"])))
            some, waiting = waiting[-count:], waiting[:-count]
            with task.trainer.precision_plugin.forward_context():  # of steps, which are over here
                found = texts([part.pop("source") for part in some])
            for part, text in zip(some, found, strict=True):
                part["prediction"] = text


def show_samples(
    task: "LightningModule", predictions: dict[int, dict[str, Any]], split: str = "validation", count: int = SAMPLES
) -> None:
    """Print the first predictions with their inputs and answers, and send them to loggers that support tables."""
    if not task.trainer.is_global_zero:
        return
    data: Any = task.trainer.datamodule  # type: ignore[attr-defined]
    rows = [{**data.record_at(split, row), "prediction": predictions[row]["prediction"]} for row in list(predictions)[:count]]
    for row in rows:
        lines = [f"  {key}: {shorten(str(value), SHOWN_CHARACTERS)}" for key, value in row.items() if key != "id"]
        task.print("\n".join([f"\n{row['id']}", *lines]))
    send_samples(task.trainer.loggers, split, rows)
