"""How the arms of a study choose values: their trials, and the best values found."""

from typing import Any, Protocol

from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.state.direction import study_lower_is_better
from ftlit.study.state.folder import Folder


class Selection(Protocol):
    """Provides the trials of an arm, and the values that it chooses once these have finished."""

    def trials(self, arm: Arm) -> list[Cell]:
        """The trials that are known so far, finished or not."""

    def best(self, arm: Arm) -> dict[str, Any] | None:
        """The chosen values; None while trials are missing, or if all of them failed."""


class FixedTrials:
    """Trials that are known from the start: a grid, random draws, or no trials.

    Args:
        plan: The study.
        folder: The folder of the study.
    """

    def __init__(self, plan: Plan, folder: Folder) -> None:
        self.plan, self.folder = plan, folder
        self._chosen: dict[str, dict[str, Any]] = {}

    def trials(self, arm: Arm) -> list[Cell]:
        return self.plan.trials(arm)

    def best(self, arm: Arm) -> dict[str, Any] | None:
        if arm.name not in self._chosen:
            metric = self.plan.study.compare.primary
            scores = {cell.name: self.folder.score(cell, metric) for cell in self.trials(arm)}
            known = {name: score for name, score in scores.items() if score is not None}
            if len(known) < len(scores):
                return None
            best = self.plan.best(arm, known, bool(known) and study_lower_is_better(self.plan.study, self.folder))
            if best is None:
                return None
            self._chosen[arm.name] = best
        return self._chosen[arm.name]


def selection(plan: Plan, folder: Folder, may_propose: bool = False) -> Selection:
    """The selection of a study.

    Args:
        plan: The study.
        folder: The folder of the study.
        may_propose: Whether new trials may be proposed. Only those who run the trials set this.
    """
    if plan.study.select and plan.study.select.method == "tpe":
        from ftlit.study.state.tpe import Tpe

        return Tpe(plan, folder, may_propose)
    return FixedTrials(plan, folder)
