"""Blocks: arms of the same experiment that differ only in their level of the compared axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ftlit.study.plan.cells import Plan
from ftlit.study.plan.settings import CompareSettings
from ftlit.study.state.runs import ArmRuns


@dataclass(frozen=True)
class Block:
    """A setting in which arms are compared.

    Args:
        base: Name of the experiment.
        labels: The level of each axis that is not compared.
        arms: The arms by level of the compared axis.
        title: Title of the block; empty if it is the only one.
    """

    base: str
    labels: dict[str, str]
    arms: dict[str, ArmRuns]
    title: str

    @property
    def caption_suffix(self) -> str:
        """The title as the end of a caption, as in "accuracy, shots 16"."""
        return f", {self.title}" if self.title else ""

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of the arms by level."""
        return {label: runs.arm.name for label, runs in self.arms.items()}


def study_blocks(plan: Plan, found: Sequence[ArmRuns]) -> list[Block]:
    """All blocks of a study, in the order of the axes."""
    study = plan.study
    varied = [axis for axis, levels in study.axes.items() if len(levels) > 1 and axis != study.compare.axis]
    grouped: dict[tuple[str, ...], dict[str, ArmRuns]] = {}
    for runs in found:
        labels = runs.arm.levels
        key = (runs.arm.base, *(label for axis, label in labels.items() if axis != study.compare.axis))
        grouped.setdefault(key, {})[labels[str(study.compare.axis)]] = runs
    made = []
    for arms in grouped.values():
        arm = next(iter(arms.values())).arm
        labels = {axis: label for axis, label in arm.levels.items() if axis != study.compare.axis}
        parts = [arm.base] if len(study.bases) > 1 else []
        title = ", ".join([*parts, *(f"{axis} {labels[axis]}" for axis in varied)])
        made.append(Block(arm.base, labels, arms, title))
    places = {axis: list(levels) for axis, levels in study.axes.items()}
    bases = list(study.bases)
    return sorted(
        made, key=lambda block: (bases.index(block.base), *(places[axis].index(k) for axis, k in block.labels.items()))
    )


def families(known: Sequence[str], compare: CompareSettings) -> list[list[tuple[str, str]]]:
    """The pairs of arms that are asked for, and then all pairs, unless these are the same.

    Args:
        known: The arms that have finished runs. The baseline is always the second of a pair.
        compare: What is asked for.
    """
    baseline = compare.baseline
    others = [label for label in known if label != baseline]
    against = [(label, baseline) for label in others if baseline is not None and baseline in known]
    everything = [*against, *((one, other) for i, one in enumerate(others) for other in others[i + 1 :])]
    if isinstance(compare.pairs, list):
        return [[(one, other) for one, other in compare.pairs if {one, other} <= set(known)], everything]
    return [everything] if baseline is None or compare.pairs == "all" else [against, everything]


def plan_families(plan: Plan) -> list[list[tuple[str, str]]]:
    """The families of all blocks together, by the names of the arms, once all arms have finished runs."""
    compare, found = plan.study.compare, list[list[tuple[str, str]]]([[], []])
    for block in study_blocks(plan, [ArmRuns(arm, {}, [], []) for arm in plan.arms]):
        for family, pairs in zip(found, families(list(block.arms), compare), strict=False):
            family += [(block.names[one], block.names[other]) for one, other in pairs]
    return found


def ranked(means: dict[str, float], lower: bool) -> list[str]:
    """Names from best to worst; those without a value come last."""
    sign = 1 if lower else -1
    return sorted(means, key=lambda name: (means[name] != means[name], sign * means[name]))
