"""The finished runs of a study, as the report reads them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Arm, Cell
from ftlit.study.state.progress import Progress


class CellRun(RunFolder):
    """The run of a finished cell.

    Args:
        cell: The cell.
        folder: Its run folder.
    """

    def __init__(self, cell: Cell, folder: Path) -> None:
        super().__init__(folder)
        self.cell = cell


@dataclass(frozen=True)
class ArmRuns:
    """The finished runs of an arm.

    Args:
        arm: The arm.
        choices: The chosen values by the seed of the repetition that has them; seeds whose values are open are not there.
        trials: Its finished trials.
        repetitions: Its finished repetitions, in the order of the study's seeds.
        tried: The cells of all trials that are known, finished or not.
    """

    arm: Arm
    choices: dict[int, dict[str, Any]]
    trials: list[CellRun]
    repetitions: list[CellRun]
    tried: list[Cell] = field(default_factory=list)


def finished_runs(progress: Progress) -> list[ArmRuns]:
    """The finished runs of every arm, including arms without any."""

    def runs(cells: list[Cell]) -> list[CellRun]:
        return [CellRun(cell, progress.folder.run_dir(cell.name)) for cell in cells if progress.folder.done(cell)]

    return [ArmRuns(arm.arm, arm.choices, runs(arm.trials), runs(arm.repetitions), arm.trials) for arm in progress.arms]
