"""The progress of a study: which of its cells are done, running, failed or pending."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftlit.study.plan.cells import Arm, Cell, Plan, Search
from ftlit.study.selection.trials import Selection, selection
from ftlit.study.sequential.course import Course
from ftlit.study.sequential.looks import begun, look_at
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
        return [self._arm(arm) for arm in self.plan.arms]

    def _arm(self, arm: Arm) -> ArmProgress:
        trials, choices = list[Cell](), dict[int, dict[str, Any]]()
        for search in self.plan.searches(arm, self.seeds(arm)):
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
        """The number of cells in each state; cells that depend on a choice not made yet are pending.

        Cells of seeds that depend on a verdict not reached yet do not count.
        """
        counts = Counter(self.states.values())
        size = sum(self.plan.cells_of_arm(len(self.seeds(arm))) for arm in self.plan.arms)
        if (unknown := size - len(self.cells)) > 0:
            counts["pending"] += unknown
        return counts

    @cached_property
    def open(self) -> list[Search]:
        """Searches that have not chosen."""
        return [
            search
            for arm in self.arms
            for search in self.plan.searches(arm.arm, self.seeds(arm.arm))
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
        """Whether cells are running or pending, or will be once an arm has chosen or a look has been taken."""
        choosing = len(self.open) > len(self.undecided)
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
