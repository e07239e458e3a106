"""Write the predictions of an evaluation to the run folder."""

import json
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from ftlit.runs.files import predictions_file
from ftlit.util.files import write_text


class Predictions(Callback):
    """Writes ``predictions/<split>.jsonl`` after an evaluation, one line per example in the order of the split.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.enabled = True
        self.rows: list[dict[str, Any]] = []  # of the last evaluation

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.keep_predictions = self.enabled and trainer.state.fn in ("validate", "test")

    on_test_start = on_validation_start

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.keep_predictions:
            self.write(trainer, "validation", pl_module.evaluators["val"].predictions)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.keep_predictions:
            self.write(trainer, "test", pl_module.evaluators["test"].predictions)

    def write(self, trainer: Trainer, split: str, found: dict[int, dict[str, Any]]) -> None:
        """Write the prediction of each row. Every rank must call this."""
        if trainer.is_global_zero:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self.rows = [{**data.record_at(split, i), **found[i]} for i in found]
            lines = (json.dumps(row, ensure_ascii=False) for row in self.rows)
            write_text(predictions_file(self.run_dir, split), "\n".join(lines) + "\n")
        trainer.strategy.barrier()
