"""The seeds of a study: a list of them, how many, or how many at least and at most."""

from dataclasses import dataclass
from math import ceil, log
from typing import Any

from ftlit.errors import UserError

GROWTH = 1.4  # about the factor by which the number of seeds grows from one look at the results to the next
FEWEST = 3  # seeds of an arm on which a claim can rest


@dataclass(frozen=True)
class SequentialSeeds:
    """Seeds that are added where verdicts are open.

    Args:
        at_least: The number of seeds that every arm has; results are looked at for the first time when these have finished.
        at_most: The number of seeds that no arm exceeds.
    """

    at_least: int
    at_most: int

    def __post_init__(self) -> None:
        if self.at_least < FEWEST:
            raise UserError(
                f"seeds.at_least should be {FEWEST} or more, since fewer seeds allow no verdict; got {self.at_least}"
            )
        if self.at_most < self.at_least:
            raise UserError(f"seeds.at_most should not be below seeds.at_least, got {self.at_most} and {self.at_least}")

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which results are looked at, about equally spaced on a logarithmic scale."""
        ratio = self.at_most / self.at_least
        steps = ceil(log(ratio) / log(GROWTH))
        return tuple(sorted({self.at_most, *(round(self.at_least * ratio ** (i / steps)) for i in range(steps))}))


def listed_seeds(given: Any) -> list[int]:
    """The seeds of a study that runs all of them.

    Raises:
        UserError: They are neither a list of different integers nor a number of seeds.
    """
    seeds = list(range(given)) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise UserError(
            "seeds should be a list of integers, such as [0, 1, 2], the number of seeds, or {at_least: 3, at_most: 30}; "
            f"got {given!r}"
        )
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds lists a seed twice: {seeds}")
    return seeds
