"""The progress of a study: which of its cells are done, running, failed or pending."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.state.folder import Folder, State
from ftlit.study.state.selection import Selection, selection


@dataclass(frozen=True)
class ArmProgress:
    """The progress of an arm.

    Args:
        arm: The arm.
        trials: The cells from which the arm chooses.
        chosen: The chosen values; None while the arm has not chosen.
        repetitions: The cells of the arm for all seeds; empty while it has not chosen.
    """

    arm: Arm
    trials: list[Cell]
    chosen: dict[str, Any] | None
    repetitions: list[Cell]


class Progress:
    """The states of all cells that are known so far.

    Args:
        plan: The study.
        folder: The folder of the study.
        choices: The selection of the study, if the caller keeps it between calls.
    """

    def __init__(self, plan: Plan, folder: Folder, choices: Selection | None = None) -> None:
        self.plan, self.folder = plan, folder
        self._choices = choices or selection(plan, folder)

    @cached_property
    def arms(self) -> list[ArmProgress]:
        """All arms with their trials and repetitions."""
        found = []
        for arm in self.plan.arms:
            trials, chosen = self._choices.trials(arm), self._choices.best(arm)
            repetitions = [] if chosen is None else self.plan.repetitions(arm, chosen)
            found.append(ArmProgress(arm, trials, chosen, repetitions))
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """All known cells; one that is both a trial and a repetition is listed once, as the repetition, which needs more."""
        found: dict[str, Cell] = {}
        for arm in self.arms:
            found |= {cell.name: cell for cell in [*arm.trials, *arm.repetitions]}
        return list(found.values())

    @cached_property
    def states(self) -> dict[str, State]:
        """The states of these cells by name."""
        return {cell.name: self.folder.state(cell) for cell in self.cells}

    def in_state(self, state: State) -> list[Cell]:
        """The cells in a state, trials first so that arms choose early."""
        return sorted((c for c in self.cells if self.states[c.name] == state), key=lambda cell: cell.final)

    @property
    def counts(self) -> Counter[State]:
        """The number of cells in each state; cells that depend on a choice not made yet are pending."""
        counts = Counter(self.states.values())
        if (unknown := self.plan.size - len(self.cells)) > 0:
            counts["pending"] += unknown
        return counts

    @property
    def undecided(self) -> list[Arm]:
        """Arms that cannot choose because all of their trials failed."""
        return [
            arm.arm
            for arm in self.arms
            if arm.trials and arm.chosen is None and all(self.states[cell.name] == "failed" for cell in arm.trials)
        ]

    @property
    def unfinished(self) -> bool:
        """Whether cells are running or pending, or will be once an arm has chosen."""
        choosing = any(arm.chosen is None and arm.arm not in self.undecided for arm in self.arms)
        return choosing or bool(self.in_state("pending") or self.in_state("running"))
