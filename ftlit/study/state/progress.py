"""The progress of a study: which of its cells are done, running, failed or pending."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftlit.study.plan.cells import Arm, Cell, Plan, Search
from ftlit.study.selection.trials import Selection, selection
from ftlit.study.state.folder import Folder, State


@dataclass(frozen=True)
class ArmProgress:
    """The progress of an arm.

    Args:
        arm: The arm.
        trials: The cells from which the arm chooses.
        choices: The chosen values by the seed of the repetition that has them; seeds whose values are open are not there.
        repetitions: The cells of the arm for these seeds.
    """

    arm: Arm
    trials: list[Cell]
    choices: dict[int, dict[str, Any]]
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
        return [self._arm(arm) for arm in self.plan.arms]

    def _arm(self, arm: Arm) -> ArmProgress:
        trials, choices = list[Cell](), dict[int, dict[str, Any]]()
        for search in self.plan.searches(arm):
            trials += self._choices.trials(search)
            if (chosen := self._choices.best(search)) is not None:
                choices |= dict.fromkeys(search.repeated, chosen)
        repetitions = [cell for seed, chosen in choices.items() for cell in self.plan.repetitions(arm, chosen, [seed])]
        return ArmProgress(arm, trials, choices, repetitions)

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

    @cached_property
    def open(self) -> list[Search]:
        """Searches that have not chosen."""
        return [
            search
            for arm in self.arms
            for search in self.plan.searches(arm.arm)
            if not set(search.repeated) <= set(arm.choices)
        ]

    @property
    def undecided(self) -> list[Search]:
        """Searches that cannot choose because all of their trials failed, or all that went on to a round of halving."""
        trials = {arm.arm.name: arm.trials for arm in self.arms}
        return [search for search in self.open if self._failed([c for c in trials[search.arm.name] if c.seed in search.seeds])]

    def _failed(self, trials: list[Cell]) -> bool:
        last = [cell for cell in trials if cell.rung == trials[-1].rung]
        return bool(last) and all(self.states[cell.name] == "failed" for cell in last)

    @property
    def unfinished(self) -> bool:
        """Whether cells are running or pending, or will be once an arm has chosen."""
        return len(self.open) > len(self.undecided) or bool(self.in_state("pending") or self.in_state("running"))
