"""Open a run from Python, to read its files and predict new rows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftlit.runs.reading import RunFolder


class Run(RunFolder):
    """A run folder that can also predict; open one with `open_run`."""

    def predict(
        self,
        rows: Iterable[str | dict[str, Any]],
        batch_size: int | None = None,
        scores: bool = False,
        checkpoint: str = "best",
        device: str | None = None,
        trust_remote_code: bool = False,
        trust_classes: list[str] | str | None = None,
        calibrated: bool = True,
    ) -> list[dict[str, Any]]:
        """Return predictions for new rows, in order. The model is loaded at each call; `load` keeps it in memory.

        Args:
            rows: Texts, or rows with the columns of the run's data.
            batch_size: Number of rows per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.
            scores: Whether to include the scores of all labels.
            checkpoint: `best`, `last`, or the path of a checkpoint.
            device: Device of the model. Defaults to the GPU if there is one.
            trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
            trust_classes: Import paths of classes outside ftlit that the run may name.
            calibrated: Whether to use the calibration of the run, if `ftlit calibrate` made one.
        """
        from ftlit.exports.predict import load

        predictor = load(self.folder, checkpoint, device, trust_remote_code, trust_classes, calibrated)
        return predictor(rows, batch_size, scores)


def open_run(folder: str | Path) -> Run:
    """Open a run folder: ``ftlit.open_run("runs/x").results["test"]["accuracy"]``.

    Args:
        folder: The run's folder.

    Raises:
        UserError: The folder contains no run, or it was written by another version of ftlit.
    """
    run = Run(folder)
    run.check()
    return run
