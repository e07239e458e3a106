"""The progress of a study: which of its cells are done, running, failed or pending."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.sequential.course import Course
from ftlit.study.sequential.looks import begun, look_at
from ftlit.study.state.folder import Folder, State
from ftlit.study.state.selection import Selection, selection


@dataclass(frozen=True)
class ArmProgress:
    """The progress of an arm.

    Args:
        arm: The arm.
        trials: The cells from which the arm chooses.
        chosen: The chosen values; None while the arm has not chosen.
        repetitions: The cells of the arm for its seeds; empty while it has not chosen.
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
        seeds: The number of seeds of each arm, as of an earlier look at a study with sequential seeds. By default, as many as
            the results ask for.
    """

    def __init__(
        self, plan: Plan, folder: Folder, choices: Selection | None = None, seeds: Mapping[str, int] | None = None
    ) -> None:
        self.plan, self.folder = plan, folder
        self._choices, self._seeds = choices or selection(plan, folder), seeds

    @cached_property
    def course(self) -> Course | None:
        """The looks at the results so far, up to one for which results are missing; None without sequential seeds."""
        if not self.plan.study.looks:
            return None
        course = begun(self.plan)
        while not course.ended:
            known = Progress(self.plan, self.folder, self._choices, course.seeds)
            if known.unfinished:
                break
            course.enter(look_at(known, course))
        return course

    def seeds(self, arm: Arm) -> list[int]:
        """The seeds of an arm that the results so far ask for."""
        counts = self._seeds if self._seeds is not None else self.course.seeds if self.course else {}
        first = self.plan.study.first_seeds
        return self.plan.study.seeds[: counts.get(arm.name, len(first))]

    @cached_property
    def arms(self) -> list[ArmProgress]:
        """All arms with their trials and repetitions."""
        found = []
        for arm in self.plan.arms:
            trials, chosen = self._choices.trials(arm), self._choices.best(arm)
            repetitions = [] if chosen is None else self.plan.repetitions(arm, chosen, self.seeds(arm))
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
        """The number of cells in each state; cells that depend on a choice not made yet are pending.

        Cells of seeds that depend on a verdict not reached yet do not count.
        """
        counts = Counter(self.states.values())
        size = sum(self.plan.cells_of_arm(len(self.seeds(arm))) for arm in self.plan.arms)
        if (unknown := size - len(self.cells)) > 0:
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
        """Whether cells are running or pending, or will be once an arm has chosen or a look has been taken."""
        choosing = any(arm.chosen is None and arm.arm not in self.undecided for arm in self.arms)
        return choosing or self.looking or bool(self.in_state("pending") or self.in_state("running"))

    @property
    def looking(self) -> bool:
        """Whether a look at the results is to come, which decides about more cells."""
        return self._seeds is None and self.course is not None and not self.course.ended

    def most_seeds(self, arm: Arm) -> list[int]:
        """The seeds of an arm if none of its open verdicts is reached before the last look."""
        going = self.course.going if self.looking and self.course else set[str]()
        return self.plan.study.seeds if arm.name in going else self.seeds(arm)

    @property
    def possible(self) -> int:
        """Number of cells that open verdicts may ask for beyond the known ones."""
        cells = self.plan.cells_of_arm
        return sum(cells(len(self.most_seeds(arm))) - cells(len(self.seeds(arm))) for arm in self.plan.arms)
