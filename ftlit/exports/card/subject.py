"""What a model card is about."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftlit.data.shared.base import TaskData
from ftlit.exports.adapters import base_model_name
from ftlit.runs.exported import Kind
from ftlit.runs.reading import RunFolder
from ftlit.runs.secrets import shown_path
from ftlit.tasks import TaskModule
from ftlit.util.files import read_json

SPLITS = ("test", "validation")  # the first that was evaluated is the one whose results count


@dataclass(frozen=True)
class Subject:
    """An exported folder, and the run from which it comes.

    Args:
        run_dir: Folder of the run.
        task: Task of the run.
        data: Data module of the run.
        kind: Kind of the folder.
        dtype: Data type of the weights.
        scaled: Whether the model of a regression returns the target in its own unit.
        library: Code that uses the folder without ftlit; by default with transformers. Kinds that need ftlit have none.
        best: Whether the folder has the weights of the run's best checkpoint, of which the results are.
        calibration: What its scores are, in a sentence, if the run was calibrated.
    """

    run_dir: Path
    task: TaskModule
    data: TaskData
    kind: Kind
    dtype: str
    scaled: bool = False
    library: str | None = None
    best: bool = True
    calibration: str | None = None

    @cached_property
    def run(self) -> RunFolder:
        """The files of the run."""
        return RunFolder(self.run_dir)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run_dir.resolve().name

    @property
    def results(self) -> dict[str, Any]:
        """The results of these weights; empty if the run evaluated those of another checkpoint."""
        return self.run.results if self.best else {}

    @property
    def split(self) -> str | None:
        """The split on which the weights were evaluated: test, else validation; None if there are no results."""
        return next((split for split in SPLITS if split in self.results), None)

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """What the run recorded of each split of its data."""
        return (self.run.record.get("data") or {}).get("splits", {})

    @cached_property
    def report(self) -> dict[str, Any]:
        """Scores of each label and the confusion matrix on `split`, if the task has them."""
        return read_json(self.run_dir / f"{self.split}_report.json") if self.split else {}

    # Names

    @cached_property
    def base(self) -> str:
        """The backbone: a hub name, or the path of a folder."""
        return base_model_name(self.task)

    @property
    def base_on_hub(self) -> str | None:
        """The backbone's name on the hub; None for a folder."""
        return None if Path(self.base).is_dir() else self.base

    @property
    def backbone(self) -> str:
        """The backbone for readers, with its revision and commit."""
        record = self.run.record
        parts = [shown_path(str(record["backbone"])), record.get("revision")]
        parts += [f"(commit {commit})"] if (commit := record.get("commit")) else []
        return " ".join(part for part in parts if part)

    @property
    def dataset(self) -> str:
        """The data set for readers: a hub name, or the name of a file or folder."""
        return shown_path(str(self.data.dataset)).removeprefix(".../")

    @property
    def dataset_on_hub(self) -> str | None:
        """The data set's name on the hub, if the rows came from there."""
        return str(self.data.dataset) if self.run.record.get("data_commit") else None

    def data_option(self, name: str) -> Any:
        """An option of the data; None if the data module has none of this name."""
        return self.data.hparams.get(name)
