"""The cells of a study. Each cell is an ordinary experiment config, named by a hash of its contents."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ftlit.errors import UserError
from ftlit.study.plan.axes import combine_levels
from ftlit.study.plan.fingerprint import data_fingerprint
from ftlit.study.plan.lengths import check_lengths, shortened
from ftlit.study.plan.settings import Study
from ftlit.util.options import OPTIONS
from ftlit.util.settings import value_at, with_values

# Options of the command that do not change the results of a run.
WITHOUT_EFFECT = {key for key, option in OPTIONS.items() if "." not in key and not option.affects}


@dataclass(frozen=True)
class Arm:
    """A setting of a study: an experiment with one level of each axis.

    Args:
        base: Name of the experiment.
        levels: The label of each axis.
        config: The experiment's config with the values of these levels.
        name: Name of the arm in tables.
    """

    base: str
    levels: dict[str, str]
    config: dict[str, Any]
    name: str

    def cell(self, seed: int, seed_keys: list[str], chosen: dict[str, Any] | None = None) -> "Cell":
        """The cell for a seed, with the chosen values of the selected keys."""
        values = {**(chosen or {}), **dict.fromkeys(seed_keys, seed)}
        return Cell(self, seed, chosen or {}, with_values(self.config, values))


@dataclass(frozen=True)
class Cell:
    """A run: one arm with one seed.

    Args:
        arm: The arm.
        seed: Seed of the run.
        chosen: Values of the selected keys.
        config: The config that is passed to `fit`.
        final: Whether the cell is a repetition, evaluated on the compared split, rather than a trial of the selection.
        trial: Number of the trial in Optuna's storage.
        rung: Round of halving, from 1, of a trial that trains for a part of its length; None for the full length.
    """

    arm: Arm
    seed: int
    chosen: dict[str, Any]
    config: dict[str, Any]
    final: bool = False
    trial: int | None = None
    rung: int | None = None

    @cached_property
    def name(self) -> str:
        """A hash of the config and its data, so that the same run has the same name in every study."""
        kept = {key: value for key, value in self.config.items() if key not in WITHOUT_EFFECT}
        text = json.dumps(kept, sort_keys=True, default=str)
        return hashlib.sha256(f"{text}\n{data_fingerprint(self.config)}".encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """A readable name of the cell."""
        chosen = "".join(f" {key.rsplit('.', 1)[-1]}={value:.3g}" if isinstance(value, float) else
                         f" {key.rsplit('.', 1)[-1]}={value}" for key, value in self.chosen.items())  # fmt: skip
        return f"{self.arm.name}{chosen} seed {self.seed}" + (f", rung {self.rung}" if self.rung else "")


@dataclass(frozen=True)
class Search:
    """How values are found: by an arm for all of its seeds, or by one of its seeds for itself.

    Args:
        arm: The arm.
        seeds: Seeds of each trial.
        repeated: Seeds of the repetitions that have the values found.
        own: The seed that chooses for itself; None if the arm chooses for all seeds.
    """

    arm: Arm
    seeds: tuple[int, ...]
    repeated: tuple[int, ...]
    own: int | None = None

    @property
    def name(self) -> str:
        """A name that no other search of the study has."""
        return self.arm.name if self.own is None else f"{self.arm.name}, seed {self.own}"


@dataclass(frozen=True)
class Setting:
    """Values that a search tries.

    Args:
        chosen: The values by key.
        cells: A trial for each seed of the search.
    """

    chosen: dict[str, Any]
    cells: list[Cell]


@dataclass(frozen=True)
class Plan:
    """The arms and cells of a study."""

    study: Study

    @cached_property
    def arms(self) -> list[Arm]:
        """All arms, in the order of the axes.

        Raises:
            UserError: An axis changes nothing, or two arms have the same config.
        """
        study = self.study
        named = [axis for axis, levels in study.axes.items() if len(levels) > 1] or list(study.axes)
        found = []
        for base, config in study.bases.items():
            for labels in combine_levels(study.axes, study.design, study.exclude):
                values = {key: value for axis, label in labels.items() for key, value in study.axes[axis][label].items()}
                parts = [labels[axis] for axis in named]
                name = ", ".join([base, *parts] if len(study.bases) > 1 else parts)
                found.append(Arm(base, labels, with_values(config, values), name))
        self._check(found)
        return found

    def _check(self, arms: list[Arm]) -> None:
        self._check_lengths(arms)
        for axis, levels in self.study.axes.items():
            if all(value_at(arm.config, key) == value_at(config, key)
                   for config in self.study.bases.values() for arm in arms
                   for level in levels.values() for key in level):  # fmt: skip
                raise UserError(f"the axis {axis!r} changes nothing: the base has its values already")
        seen: dict[str, Arm] = {}
        for arm in arms:
            text = json.dumps(arm.config, sort_keys=True, default=str)
            if text in seen:
                raise UserError(f"the arms {seen[text].name!r} and {arm.name!r} have the same config; leave one of them out")
            seen[text] = arm

    def _check_lengths(self, arms: list[Arm]) -> None:
        select = self.study.select
        if select is not None and select.method == "halving":
            for arm in arms:
                chosen = with_values(arm.config, select.combinations()[0])
                check_lengths(arm.name, chosen, select.rung_divisors[0])

    def searches(self, arm: Arm, seeds: Sequence[int] | None = None) -> list[Search]:
        """How the repetitions of an arm get their values. Without a selection, a single search has nothing to try.

        Args:
            arm: The arm.
            seeds: Seeds of the repetitions; by default those of the study.
        """
        select, wanted = self.study.select, self.study.seeds if seeds is None else seeds
        if select is not None and select.by_seed:
            return [Search(arm, (seed,), (seed,), seed) for seed in wanted]
        return [Search(arm, tuple(select.trial_seeds) if select else (), tuple(wanted))]

    def settings(self, search: Search, over: dict[str, Any] | None = None) -> list[Setting]:
        """What a search tries in full length; nothing without a selection, or if TPE proposes the trials.

        Args:
            search: The search.
            over: The values of each key, if they are more than in the study's file.
        """
        select = self.study.select
        return [self.setting(search, chosen) for chosen in select.combinations(over, search.own)] if select else []

    def setting(self, search: Search, chosen: dict[str, Any], rung: int | None = None, divisor: int = 1) -> Setting:
        """The trials of some values.

        Args:
            search: The search.
            chosen: The values.
            rung: Round of halving, from 1; None for trials in full length.
            divisor: The part of the full length that these trials train for is one by this number.
        """
        cells = [self.trial(search.arm, chosen, seed) for seed in search.seeds]
        if rung is not None:
            cells = [replace(cell, config=shortened(cell.config, divisor), rung=rung) for cell in cells]
        return Setting(chosen, cells)

    def trial(self, arm: Arm, chosen: dict[str, Any], seed: int, number: int | None = None) -> Cell:
        """A trial of an arm."""
        return replace(arm.cell(seed, self.study.seed_keys, chosen), trial=number)

    def repetitions(self, arm: Arm, chosen: dict[str, Any], seeds: Sequence[int] | None = None) -> list[Cell]:
        """The cells of an arm for all seeds, or for some, with the chosen values."""
        wanted = self.study.seeds if seeds is None else seeds
        return [replace(arm.cell(seed, self.study.seed_keys, chosen), final=True) for seed in wanted]

    def lengths_of_arm(self, seeds: int) -> Counter[int]:
        """Number of trials of an arm that has so many seeds, by their length: the part of the full one is one by the key."""
        select, own = self.study.select, self.study.seeds[:seeds]
        if select is None:
            return Counter()
        times = sum(len(search.seeds) for search in self.searches(self.arms[0], own))
        return Counter({divisor: count * times for divisor, count in select.lengths.items()})

    def trials_of_arm(self, seeds: int) -> int:
        """Number of trials of an arm that has so many seeds."""
        return self.lengths_of_arm(seeds).total()

    def shared_of_arm(self, seeds: int) -> int:
        """Number of these trials that are also repetitions once the arm has chosen; with pruning they are different runs."""
        if self.study.select is None or self.study.select.prune:
            return 0
        searches = self.searches(self.arms[0], self.study.seeds[:seeds])
        return sum(len(set(search.seeds) & set(search.repeated)) for search in searches)

    def cells_of_arm(self, seeds: int) -> int:
        """Number of cells of an arm that has so many seeds, if no list of values is extended."""
        return self.trials_of_arm(seeds) + seeds - self.shared_of_arm(seeds)

    @property
    def budget(self) -> int:
        """Number of trials of an arm."""
        return self.trials_of_arm(len(self.study.seeds))

    @property
    def shared(self) -> int:
        """Number of these trials that are also repetitions once the arm has chosen."""
        return self.shared_of_arm(len(self.study.seeds))

    @property
    def size(self) -> int:
        """Number of cells if all of them run and no list of values is extended."""
        return len(self.arms) * self.cells_of_arm(len(self.study.seeds))

    @property
    def least(self) -> int:
        """Number of cells if no arm has more seeds than every arm has; without sequential seeds, all of them."""
        return len(self.arms) * self.cells_of_arm(len(self.study.first_seeds))

    @property
    def size_text(self) -> str:
        """The number of cells, for users."""
        more = " and those of extended values" if self.study.select and self.study.select.extend else ""
        return f"{f'{self.least:,} to' if self.study.looks else 'at most'} {self.size:,} cells{more}"
