"""The course of a study with sequential seeds: which pairs are decided at each look, and which arms go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ftlit.study.sequential.levels import Looks
from ftlit.study.statistics.multiplicity import Correction, Pair, adjust, is_all_pairs

Status = Literal["different", "same", "open", "given up"]

TINY = 1e-300
LITTLE_POWER = 0.1  # a pair is given up if it would be decided with a smaller probability even by the largest number of seeds


@dataclass(frozen=True)
class Found:
    """What one look says about a pair.

    Args:
        p: The p-value of the ordinary test; None if too few of the arms' runs succeeded for a claim.
        same: Whether both arms are the same within a margin, by a test at the level of the look.
        room: How far the difference is within the margin, in standard errors; None without a margin.
    """

    p: float | None
    same: bool = False
    room: float | None = None


class Course:
    """The course of a study, from its first look to the current one.

    All arms of a pair of the first family go on while the pair is open. A pair is given up if it would hardly be decided even
    by the largest number of seeds; this only saves runs, and makes no claim.

    Args:
        looks: The looks of the design.
        families: The pairs that are compared, by the names of their arms; the first family decides which arms go on.
        level: Level of the whole design.
        correction: Correction for multiple comparisons.

    Attributes:
        look: Number of the current look, from 0.
        ended: Whether no arm goes on.
        seeds: The number of seeds of each arm that is compared.
        p: The p-values of all pairs so far, which hold at any time.
        same: The pairs of all families that are the same within a margin.
        status: What has been decided about each pair of the first family.
        closed: The number of seeds at which a pair of the first family was decided or given up.
    """

    def __init__(self, looks: Looks, families: Sequence[Sequence[Pair]], level: float, correction: Correction) -> None:
        self.looks, self.families, self.level, self.correction = looks, families, level, correction
        self.going = {name for pair in families[0] for name in pair}
        self.look, self.ended = 0, not self.going
        self.seeds = dict.fromkeys(self.going, looks.seeds[0])
        self.p: dict[Pair, float] = {}
        self.same = set[Pair]()
        self.status: dict[Pair, Status] = dict.fromkeys(families[0], "open")
        self.closed: dict[Pair, int] = {}

    def enter(self, found: Mapping[Pair, Found]) -> None:
        """Decide what the results at the current look allow, and go on to the next look.

        Args:
            found: What the look says about each pair; pairs that cannot be tested are missing.
        """
        for pair, one in found.items():
            if one.p is not None and (not self.look or self.going & set(pair)):  # else it has been looked at before
                self.p[pair] = min(self.p.get(pair, 1.0), self.looks.p_value(self.look, one.p))
                self.same |= {pair} if one.same else set()
        adjusted, last = self.adjusted(0), self.look == len(self.looks.seeds) - 1
        for pair in self.families[0]:
            if adjusted[pair] <= self.level:
                self._close(pair, "different")
        undecided = max(sum(status != "different" for status in self.status.values()), 1)
        for pair in self.open:
            if pair in self.same:
                self._close(pair, "same")
            elif pair not in found or (not last and self._hopeless(found[pair], undecided)):
                self._close(pair, "given up")
        self.going = {name for pair in self.open for name in pair}
        self.ended = last or not self.going
        if not self.ended:
            self.look += 1
            self.seeds |= dict.fromkeys(self.going, self.looks.seeds[self.look])

    @property
    def level_of_look(self) -> float:
        """The level of the current look for the tests of a family together, such that Holm's method keeps the whole level."""
        most = max(len(pairs) for pairs in self.families)
        return most * float(self.looks.levels(self.level / most)[self.look])

    def interval_level(self, names: Sequence[str]) -> float:
        """The level of the interval of an arm, or of the difference of two, by their names.

        It is the level of the test at their last look, so that the intervals of all looks together hold the truth with the
        probability that one of them should have (the repeated confidence intervals of Jennison and Turnbull 1989).
        """
        seeds = max(self.seeds.get(name, self.looks.seeds[0]) for name in names)
        return float(self.looks.levels(self.level)[self.looks.seeds.index(seeds)])

    @property
    def open(self) -> list[Pair]:
        """The pairs of the first family about which nothing has been decided."""
        return [pair for pair, status in self.status.items() if status == "open"]

    def adjusted(self, family: int) -> dict[Pair, float]:
        """The p-values of the pairs of a family, adjusted for all of them; like `p`, they hold at any time."""
        pairs = self.families[family]
        p = [self.p.get(pair, 1.0) for pair in pairs]
        return dict(zip(pairs, adjust(p, self.correction, is_all_pairs(pairs)), strict=True))

    def _hopeless(self, one: Found, undecided: int) -> bool:
        """Whether a pair will probably be found neither different nor the same."""
        from scipy.special import ndtri

        if one.p is None:
            return False
        level, ratio = self.level / undecided, -float(ndtri(max(one.p, TINY) / 2))
        power = self.looks.predictive_power(self.look, ratio, level)
        if one.room is not None:
            power += self.looks.predictive_power(self.look, one.room, level, sides=1)
        return power < LITTLE_POWER

    def _close(self, pair: Pair, status: Status) -> None:
        if self.status[pair] != status:
            self.status[pair] = status
            self.closed[pair] = self.looks.seeds[self.look]
