"""The finished runs of a study, as the report reads them."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftlit.study.plan.cells import Arm, Cell
from ftlit.study.state.progress import Progress
from ftlit.util.files import read_json


@dataclass(frozen=True)
class CellRun:
    """A finished cell and its run folder.

    Args:
        cell: The cell.
        path: The run folder of the cell.
    """

    cell: Cell
    path: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """results.json: metrics by split, and efficiency."""
        return read_json(self.path / "results.json")

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json: task, seed, times, versions, hardware, data and parameter counts."""
        return read_json(self.path / "run.json")

    def logged(self) -> list[dict[str, float]]:
        """The rows of metrics.csv: ``step``, ``epoch`` and the values logged at that step."""
        path = self.path / "metrics.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


@dataclass(frozen=True)
class ArmRuns:
    """The finished runs of an arm.

    Args:
        arm: The arm.
        chosen: The chosen values; None while the arm has not chosen.
        trials: Its finished trials.
        repetitions: Its finished repetitions, in the order of the study's seeds.
    """

    arm: Arm
    chosen: dict[str, Any] | None
    trials: list[CellRun]
    repetitions: list[CellRun]


def finished_runs(progress: Progress) -> list[ArmRuns]:
    """The finished runs of every arm, including arms without any."""

    def runs(cells: list[Cell]) -> list[CellRun]:
        return [CellRun(cell, progress.folder.run_dir(cell.name)) for cell in cells if progress.folder.done(cell)]

    return [ArmRuns(arm.arm, arm.chosen, runs(arm.trials), runs(arm.repetitions)) for arm in progress.arms]
