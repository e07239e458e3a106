"""Selection by successive halving (Jamieson and Talwalkar, 2016): short trainings of all, longer ones of the best."""

from typing import Any

from ftlit.study.plan.cells import Cell, Plan, Search, Setting
from ftlit.study.selection.trials import Scores
from ftlit.study.state.folder import Folder


class Halving:
    """Trials in rounds: each round trains the best settings of the one before for `factor` times as long, from the start.

    Args:
        plan: The study.
        folder: The folder of the study.
    """

    def __init__(self, plan: Plan, folder: Folder) -> None:
        assert plan.study.select is not None
        self.plan, self.select, self.scores = plan, plan.study.select, Scores(plan, folder)
        self._made: dict[tuple[str, int], list[Setting]] = {}

    def trials(self, search: Search) -> list[Cell]:
        return [cell for tried in self._rounds(search) for setting in tried for cell in setting.cells]

    def best(self, search: Search) -> dict[str, Any] | None:
        rounds = self._rounds(search)
        found = self.scores.best_first(rounds[-1]) if len(rounds) == len(self.select.rung_sizes) else None
        return found[0].chosen if found else None

    def _rounds(self, search: Search) -> list[list[Setting]]:
        """The rounds that have begun. A round begins when all trials of the one before have ended."""
        sizes, rounds = self.select.rung_sizes, list[list[Setting]]()
        left = self.select.combinations(own=search.own)
        for i, size in enumerate(sizes):
            rounds.append(self._round(search, left[:size], i))
            order = self.scores.best_first(rounds[-1])
            if not order:
                break
            left = [setting.chosen for setting in order]
        return rounds

    def _round(self, search: Search, tried: list[dict[str, Any]], i: int) -> list[Setting]:
        """The trials of a round, which do not change once it has begun."""
        if (search.name, i) not in self._made:
            divisor = self.select.rung_divisors[i]
            rung = i + 1 if divisor > 1 else None
            self._made[search.name, i] = [self.plan.setting(search, chosen, rung, divisor) for chosen in tried]
        return self._made[search.name, i]
