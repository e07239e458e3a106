"""The section `select` of a study's file: how arms choose the values of some keys."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from ftlit.errors import UserError
from ftlit.study.plan.axes import draw_values
from ftlit.study.plan.ends import extendable

Method = Literal["grid", "random", "tpe", "halving"]


@dataclass(frozen=True)
class SelectSettings:
    """How values are chosen: on validation only, and with the same number of trials for every arm.

    Args:
        over: The values to try for each key: a list, or a range ``{low: 1e-5, high: 1e-3, log: true}``.
        nested: Whether each seed of the study chooses for itself, by its own trials, so that the spread over seeds includes
            that of the choice. If false, each arm chooses once for all of its seeds. The default is true without `seeds`.
        seeds: Seeds of each trial if `nested` is false, ``[0]`` by default; the mean over them decides.
        method: All combinations (grid), random draws (random), Optuna's TPE (tpe), or short trainings of all, of which the
            best go on with longer ones (halving).
        trials: Number of settings that are tried, for random, tpe and halving.
        prune: Whether to stop trials that fall behind early (tpe).
        seed: Seed of the draws.
        extend: How often a list whose first or last value is chosen is continued by another value, for every arm (grid).
        rungs: Number of rounds of halving; by default so many that fewer than `factor` settings are trained in full length.
        factor: What each round of halving multiplies the length of training by, and divides the number of settings by.
    """

    over: dict[str, Any]
    nested: bool | None = None
    seeds: list[int] | None = None
    method: Method = "grid"
    trials: int | None = None
    prune: bool = False
    seed: int = 0
    extend: int = 0
    rungs: int | None = None
    factor: int = 3

    def __post_init__(self) -> None:
        if not self.over or self.seeds == []:
            raise UserError("select needs the keys and values to try (over) and at least one seed (seeds)")
        if self.nested and self.seeds is not None:
            raise UserError(
                "select.seeds goes with select.nested: false; with nested: true each seed of the study tries the values itself"
            )
        self._check_trials()
        self._check_extend()
        self._check_rungs()

    def _check_trials(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise UserError(f"select.trials should be at least 1, got {self.trials}")
        if empty := [key for key, values in self.over.items() if values == []]:
            raise UserError(f"select.over.{empty[0]} should have at least one value, got []")
        ranges = [key for key, values in self.over.items() if not isinstance(values, list)]
        if self.method == "grid" and ranges:
            raise UserError(f"select.over.{ranges[0]} is a range; use a list of values, or set select.method to random or tpe")
        if not self.trials and (self.method in ("random", "tpe") or ranges):
            raise UserError(f"select.method {self.method} needs select.trials, the number of trials of each arm")
        if self.method == "grid" and self.trials:
            raise UserError("select.trials goes with select.method random, tpe or halving; a grid tries all combinations")
        if self.prune and self.method != "tpe":
            raise UserError("select.prune goes with select.method: tpe")

    def _check_extend(self) -> None:
        if self.extend < 0:
            raise UserError(f"select.extend should be at least 0, got {self.extend}")
        if self.extend and self.method != "grid":
            raise UserError(f"select.extend goes with select.method: grid, not with {self.method}")
        if self.extend and not any(extendable(values) for values in self.over.values()):
            raise UserError("select.extend needs a list of three or more numbers in equal steps or factors in select.over")

    def _check_rungs(self) -> None:
        if self.method != "halving":
            if self.rungs is not None:
                raise UserError(f"select.rungs goes with select.method: halving, not with {self.method}")
            return
        if self.factor < 2:
            raise UserError(f"select.factor should be at least 2, got {self.factor}")
        if self.rungs is not None and self.rungs < 2:
            raise UserError(f"select.rungs should be at least 2, got {self.rungs}")
        tried, wanted = len(self.combinations()), self.factor ** ((self.rungs or 2) - 1)
        if tried < wanted:
            raise UserError(
                f"select.method: halving with {self.rungs or 2} rungs and a factor of {self.factor} needs at least {wanted} "
                f"settings to choose from, got {tried}"
            )

    @property
    def by_seed(self) -> bool:
        """Whether each seed of the study chooses for itself."""
        return self.seeds is None if self.nested is None else self.nested

    @property
    def trial_seeds(self) -> list[int]:
        """Seeds of each trial, if arms choose once for all seeds."""
        return [0] if self.seeds is None else self.seeds

    def combinations(self, over: dict[str, Any] | None = None, own: int | None = None) -> list[dict[str, Any]]:
        """The values to try, the same for every arm; empty for TPE, which proposes them one by one.

        Args:
            over: The values of each key, if they are more than in the file.
            own: The seed that chooses for itself, and has random draws of its own; None if an arm chooses for all seeds.
        """
        if self.method == "tpe":
            return []
        return draw_values(over or self.over, self.trials, self.seed if own is None else f"{self.seed} {own}")

    @property
    def rung_divisors(self) -> list[int]:
        """The part of the full length that each round of halving trains for is one by this number."""
        rounds = len(self.rung_sizes)
        return [self.factor ** (rounds - 1 - i) for i in range(rounds)]

    @property
    def rung_sizes(self) -> list[int]:
        """The number of settings in each round of halving, from the first to the one in full length."""
        sizes = [len(self.combinations())]
        while len(sizes) < self.rungs if self.rungs else self.factor ** len(sizes) <= sizes[0]:
            sizes.append(-(-sizes[0] // self.factor ** len(sizes)))
        return sizes

    @property
    def budget(self) -> int:
        """Number of trials of a search, with one seed."""
        return self.lengths.total()

    @property
    def lengths(self) -> Counter[int]:
        """Number of trials of a search by their length: the part of the full one is one by the key."""
        if self.method == "halving":
            return Counter(dict(zip(self.rung_divisors, self.rung_sizes, strict=True)))
        return Counter({1: self.trials if self.trials and self.method == "tpe" else len(self.combinations())})


def check_used(select: SelectSettings, given: Collection[str]) -> None:
    """Check that every key in the study's file has an effect.

    Args:
        select: The section.
        given: Its keys in the file.

    Raises:
        UserError: A key has no effect with this method.
    """
    if "factor" in given and select.method != "halving":
        raise UserError(f"select.factor goes with select.method: halving, not with {select.method}; leave it out")
    if "seed" in given and select.trials is None:
        raise UserError(
            "select.seed is for values that are drawn, and without select.trials all combinations are tried; leave it out, or "
            "set select.trials and a select.method that draws (random, tpe or halving)"
        )
