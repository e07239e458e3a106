"""Group runs into arms: the runs of an arm have the same config apart from the seed and from what does not change results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftlit.diff.arms.naming import Config, arm_names, differing, written
from ftlit.errors import UserError
from ftlit.exports.run import Run
from ftlit.runs.secrets import hidden
from ftlit.util.options import option
from ftlit.util.settings import flat, value_at

SEEDS = ("seed_everything", "data.seed")  # what a seed sets


@dataclass(frozen=True)
class RunArm:
    """The runs of a config with different seeds.

    Attributes:
        name: A short name made of the values in which arms differ.
        settings: These values, by key.
        runs: The runs by the number of their seed, in its order.
    """

    name: str
    settings: dict[str, Any]
    runs: dict[int, Run]


def grouped(runs: Sequence[Run]) -> list[RunArm]:
    """The arms of runs, in the order in which the runs are given.

    Raises:
        UserError: Two runs have the same config and the same seed.
    """
    configs = [decisive(run) for run in runs]
    keys = differing(configs)
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for i, config in enumerate(configs):
        groups.setdefault(tuple(written(config, key) for key in keys), []).append(i)
    seeds = [seed_of(run) for run in runs]
    numbers = {seed: number for number, seed in enumerate(sorted(set(seeds)))}
    names = arm_names([configs[members[0]] for members in groups.values()])
    arms = []
    for name, members in zip(names, groups.values(), strict=True):
        by_seed: dict[int, Run] = {}
        for i in members:
            if (number := numbers[seeds[i]]) in by_seed:
                raise UserError(
                    f"{by_seed[number].folder} and {runs[i].folder} have the same config and seed, so they are one run made "
                    "twice; leave one of them out"
                )
            by_seed[number] = runs[i]
        first = configs[members[0]]
        arms.append(RunArm(name, {key: first[key] for key in keys if key in first}, dict(sorted(by_seed.items()))))
    return arms


def decisive(run: Run) -> Config:
    """The part of a config that can change results, apart from the seed and from what is taken from the rest of the config."""
    return {key: value for key, value in flat(hidden(run.config)) if _decides(key)}


def _decides(key: str) -> bool:
    if key in SEEDS:
        return False
    try:
        declared = option(key)
    except KeyError:  # such as a section that a user's own command adds
        return True
    return bool(declared.affects) and declared.source is None


def seed_of(run: Run) -> tuple[str, ...]:
    """What the seed of a run sets, as texts of the same length for numbers, so that they are in the order of the seeds."""
    drawn = run.record.get("seed", value_at(run.config, SEEDS[0]))
    return tuple(f"{value!s:>20}" for value in (drawn, value_at(run.config, SEEDS[1])))


def different_rows(arms: Sequence[RunArm]) -> list[str]:
    """Sentences about arms whose runs were trained on different rows although their configs are the same."""
    found = []
    for arm in arms:
        rows = {(seed_of(run)[1], _train_fingerprint(run)) for run in arm.runs.values()}
        if len(rows) > len({seed for seed, _ in rows}):
            found.append(f"The runs of {arm.name} were trained on different rows although their configs are the same.")
    return found


def _train_fingerprint(run: Run) -> str | None:
    return run.record["data"]["splits"].get("train", {}).get("fingerprint") if run.record.get("data") else None
