"""The cells of a study. Each cell is an ordinary experiment config, named by a hash of its contents."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ftlit.errors import UserError
from ftlit.study.plan.axes import combine_levels
from ftlit.study.plan.fingerprint import data_fingerprint
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
    """

    arm: Arm
    seed: int
    chosen: dict[str, Any]
    config: dict[str, Any]
    final: bool = False
    trial: int | None = None

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
        return f"{self.arm.name}{chosen} seed {self.seed}"


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

    def trials(self, arm: Arm) -> list[Cell]:
        """The cells from which an arm chooses; empty without a selection, or if TPE proposes them."""
        select = self.study.select
        if select is None:
            return []
        return [self.trial(arm, chosen, seed) for chosen in select.combinations() for seed in select.seeds]

    def trial(self, arm: Arm, chosen: dict[str, Any], seed: int, number: int | None = None) -> Cell:
        """A trial of an arm."""
        return replace(arm.cell(seed, self.study.seed_keys, chosen), trial=number)

    def repetitions(self, arm: Arm, chosen: dict[str, Any], seeds: Sequence[int] | None = None) -> list[Cell]:
        """The cells of an arm for all seeds, or for some, with the chosen values."""
        wanted = self.study.seeds if seeds is None else seeds
        return [replace(arm.cell(seed, self.study.seed_keys, chosen), final=True) for seed in wanted]

    @property
    def shared(self) -> int:
        """Number of trials of an arm that are also repetitions once it has chosen; with pruning they are different runs."""
        select = self.study.select
        return 0 if select is None or select.prune else len(set(select.seeds) & set(self.study.seeds))

    @property
    def size(self) -> int:
        """Number of cells if all of them run."""
        return len(self.arms) * self.cells_of_arm(len(self.study.seeds))

    @property
    def least(self) -> int:
        """Number of cells if no arm has more seeds than every arm has; without sequential seeds, all of them."""
        return len(self.arms) * self.cells_of_arm(len(self.study.first_seeds))

    @property
    def size_text(self) -> str:
        """The number of cells, for users."""
        return f"{self.least:,} to {self.size:,} cells" if self.study.looks else f"at most {self.size:,} cells"

    def cells_of_arm(self, seeds: int) -> int:
        """Number of cells of an arm that has so many seeds."""
        select, own = self.study.select, set(self.study.seeds[:seeds])
        tried = set(select.seeds) if select and not select.prune else set()
        return (select.budget if select else 0) + len(own - tried)

    def best(self, arm: Arm, scores: dict[str, float], lower: bool) -> dict[str, Any] | None:
        """The values that an arm chooses from a grid or random draws; None while some trials have no score.

        Args:
            arm: The arm.
            scores: The metric on validation by cell name. Failed trials have NaN and are never chosen.
            lower: Whether lower values of the metric are better.
        """
        select = self.study.select
        if select is None:
            return {}
        means = []
        for chosen in select.combinations():
            names = [self.trial(arm, chosen, seed).name for seed in select.seeds]
            if any(name not in scores for name in names):
                return None
            means.append((sum(scores[name] for name in names) / len(names), chosen))
        known = [(mean, chosen) for mean, chosen in means if mean == mean]
        if not known:
            return None
        sign = -1 if lower else 1
        return max(known, key=lambda pair: sign * pair[0])[1]
