"""How the arms of a study choose values: their trials, and the best values found."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from ftlit.study.plan.cells import Cell, Plan, Search, Setting
from ftlit.study.plan.ends import widened
from ftlit.study.state.direction import study_lower_is_better
from ftlit.study.state.folder import Folder


class Selection(Protocol):
    """Provides the trials of a search, and the values that it chooses once these have finished."""

    def trials(self, search: Search) -> list[Cell]:
        """The trials that are known so far, finished or not."""

    def best(self, search: Search) -> dict[str, Any] | None:
        """The chosen values; None while trials are missing, or if all of them failed."""


def ranked(scores: Sequence[float], lower: bool) -> list[int]:
    """The places of scores from best to worst, of equal ones the earlier first; those that are not a number are left out."""
    known = [place for place, score in enumerate(scores) if score == score]
    return sorted(known, key=lambda place: scores[place] if lower else -scores[place])


class Scores:
    """The compared metric of trials on validation.

    Args:
        plan: The study.
        folder: The folder of the study.
    """

    def __init__(self, plan: Plan, folder: Folder) -> None:
        self.plan, self.folder = plan, folder
        self._known: dict[str, float] = {}

    @cached_property
    def _lower(self) -> bool:
        return study_lower_is_better(self.plan.study, self.folder)

    def best_first(self, settings: Sequence[Setting]) -> list[Setting] | None:
        """Settings from best to worst by their means over seeds, without those that failed; None while trials are missing."""
        means = [self._mean(setting) for setting in settings]
        found = [mean for mean in means if mean is not None]
        if len(found) < len(means):
            return None
        return [settings[i] for i in ranked(found, any(mean == mean for mean in found) and self._lower)]

    def _mean(self, setting: Setting) -> float | None:
        found = [self._score(cell) for cell in setting.cells]
        known = [score for score in found if score is not None]
        return sum(known) / len(known) if len(known) == len(found) else None

    def _score(self, cell: Cell) -> float | None:
        if cell.name not in self._known:
            score = self.folder.score(cell, self.plan.study.compare.primary)
            if score is None:
                return None
            self._known[cell.name] = score
        return self._known[cell.name]


class FixedTrials:
    """Trials that are known from the start: a grid, random draws, or no trials.

    The lists of a grid may be extended at an end that any arm chose, once all searches have chosen from those before. Seeds
    that are added later have no say in this.

    Args:
        plan: The study.
        folder: The folder of the study.
    """

    def __init__(self, plan: Plan, folder: Folder) -> None:
        self.plan, self.scores = plan, Scores(plan, folder)
        self._extensions = plan.study.select.extend if plan.study.select else 0
        self._over = plan.study.select.over if plan.study.select else {}
        self._settings: dict[str, list[Setting]] = {}

    def trials(self, search: Search) -> list[Cell]:
        self._extend()
        return [cell for setting in self._tried(search) for cell in setting.cells]

    def best(self, search: Search) -> dict[str, Any] | None:
        self._extend()
        return None if self._extensions else self._chosen(search)

    def _tried(self, search: Search) -> list[Setting]:
        if search.name not in self._settings:
            self._settings[search.name] = self.plan.settings(search, self._over)
        return self._settings[search.name]

    def _chosen(self, search: Search) -> dict[str, Any] | None:
        if self.plan.study.select is None:
            return {}
        found = self.scores.best_first(self._tried(search))
        return found[0].chosen if found else None

    def _extend(self) -> None:
        """Add a value at each end that an arm chose, as often as the study allows, while all trials so far have finished."""
        while self._extensions and (choices := self._choices()) is not None:
            wider = widened(self._over, choices)
            self._extensions = self._extensions - 1 if wider != self._over else 0
            self._over = wider
            self._settings.clear()

    def _choices(self) -> list[list[dict[str, Any]]] | None:
        """What the searches of each arm choose, without those whose trials all failed; None while trials are missing."""
        found = []
        for arm in self.plan.arms:
            orders = []
            for search in self.plan.searches(arm, self.plan.study.first_seeds):
                order = self.scores.best_first(self._tried(search))
                if order is None:
                    return None
                orders.append(order)
            found.append([order[0].chosen for order in orders if order])
        return found


def selection(plan: Plan, folder: Folder, may_propose: bool = False) -> Selection:
    """The selection of a study.

    Args:
        plan: The study.
        folder: The folder of the study.
        may_propose: Whether new trials may be proposed. Only those who run the trials set this.
    """
    method = plan.study.select.method if plan.study.select else "grid"
    if method == "tpe":
        from ftlit.study.selection.tpe import Tpe

        return Tpe(plan, folder, may_propose)
    if method == "halving":
        from ftlit.study.selection.halving import Halving

        return Halving(plan, folder)
    return FixedTrials(plan, folder)
