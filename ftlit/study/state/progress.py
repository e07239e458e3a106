"""How a study stands: which of its cells are done, running, failed or left."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.state.folder import Folder, State
from ftlit.study.state.selection import Selection, selection


@dataclass(frozen=True)
class ArmProgress:
    """How an arm stands.

    Args:
        arm: The arm.
        trials: The cells among which it chooses.
        chosen: What it chose, None while it has not.
        repetitions: Its cells over all seeds, none before it has chosen.
    """

    arm: Arm
    trials: list[Cell]
    chosen: dict[str, Any] | None
    repetitions: list[Cell]


class Progress:
    """The state of every cell that is known so far.

    Args:
        plan: The study.
        folder: Its folder.
        choices: Its selection, kept by those who ask again and again.
    """

    def __init__(self, plan: Plan, folder: Folder, choices: Selection | None = None) -> None:
        self.plan, self.folder = plan, folder
        self._choices = choices or selection(plan, folder)

    @cached_property
    def arms(self) -> list[ArmProgress]:
        """Every arm with its trials and repetitions."""
        found = []
        for arm in self.plan.arms:
            trials, chosen = self._choices.trials(arm), self._choices.best(arm)
            repetitions = [] if chosen is None else self.plan.repetitions(arm, chosen)
            found.append(ArmProgress(arm, trials, chosen, repetitions))
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """Every known cell once; where a trial is a repetition too, as the repetition, which asks for more."""
        found: dict[str, Cell] = {}
        for arm in self.arms:
            found |= {cell.name: cell for cell in [*arm.trials, *arm.repetitions]}
        return list(found.values())

    @cached_property
    def states(self) -> dict[str, State]:
        """The state of each of them by name."""
        return {cell.name: self.folder.state(cell) for cell in self.cells}

    def in_state(self, state: State) -> list[Cell]:
        """The cells in a state, trials first, so that choices are made early."""
        return sorted((c for c in self.cells if self.states[c.name] == state), key=lambda cell: cell.final)

    @property
    def counts(self) -> Counter[State]:
        """How many cells are in each state; those that no arm has chosen yet are left."""
        counts = Counter(self.states.values())
        if (unknown := self.plan.size - len(self.cells)) > 0:
            counts["pending"] += unknown
        return counts

    @property
    def undecided(self) -> list[Arm]:
        """Arms all of whose trials failed, so that they have no repetitions."""
        return [
            arm.arm
            for arm in self.arms
            if arm.trials and arm.chosen is None and all(self.states[cell.name] == "failed" for cell in arm.trials)
        ]

    @property
    def unfinished(self) -> bool:
        """Whether anything is to be run still, now or once an arm has chosen."""
        choosing = any(arm.chosen is None and arm.arm not in self.undecided for arm in self.arms)
        return choosing or bool(self.in_state("pending") or self.in_state("running"))
