"""What a report has to tell, in numbers; every format is made from these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

from ftlit.metrics.direction import lower_is_better
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import Study
from ftlit.study.report.content.blocks import Block, blocks, in_order, pairs
from ftlit.study.report.content.paired import Seen, seen
from ftlit.study.report.render.formats import decimals_for
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Standing
from ftlit.study.state.runs import ArmRuns, CellRun, finished
from ftlit.study.statistics.compare import Comparison, Estimate, compare, estimate, groups

LETTERED = 60  # arms; letters of more than that tell nothing


@dataclass(frozen=True)
class Cost:
    """What an arm costs, each a mean over its repetitions, None where it was not measured.

    Args:
        trained: Trained parameters.
        share: Their share of all.
        seconds: Of training.
        memory: Peak bytes.
        checkpoint: Bytes of a checkpoint.
    """

    trained: float | None
    share: float | None
    seconds: float | None
    memory: float | None
    checkpoint: float | None


def cost(runs: Sequence[CellRun]) -> Cost:
    """The mean cost of runs."""

    def mean(key: str) -> float | None:
        values = [run.results.get("efficiency", {}).get(key) for run in runs]
        known = [float(value) for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return Cost(*map(mean, ("trained_parameters", "trained_share", "train_seconds", "peak_memory_bytes", "checkpoint_bytes")))


@dataclass(frozen=True)
class Told:
    """A block with its numbers; arms are named by their levels.

    Args:
        block: The setting and its arms.
        seen: What is known of each example.
        estimates: Mean and interval of each arm with repetitions.
        comparisons: All pairs of them.
        letters: Arms that share one cannot be told apart.
        costs: Of each arm with repetitions.
        order: These arms from best to worst.
    """

    block: Block
    seen: Seen
    estimates: dict[str, Estimate]
    comparisons: list[Comparison]
    letters: dict[str, str]
    costs: dict[str, Cost]
    order: list[str]

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str], Comparison]:
        return {(one.arm, one.other): one for one in self.comparisons if isfinite(one.difference)}

    def verdict(self, one: str, other: str) -> Comparison | None:
        """The comparison of an arm with another, whichever came first; None where there was nothing to compare."""
        return self._verdicts.get((one, other)) or self._verdicts.get((other, one))

    def against(self, baseline: str | None) -> list[Comparison]:
        """The comparisons with the baseline, in the order of the arms."""
        return [one for one in self.comparisons if one.other == baseline and isfinite(one.difference)]

    def best(self) -> list[str]:
        """The best arm, and those that cannot be told apart from it."""
        first, *rest = self.order
        return [first, *(label for label in rest if (one := self.verdict(first, label)) and not one.different)]

    @property
    def measured(self) -> bool:
        """Whether there is a number of any arm."""
        return bool(self.order) and isfinite(self.estimates[self.order[0]].mean)

    def shown(self, baseline: str | None, limit: int) -> list[str]:
        """The baseline and the best others, in the order of the study, where there are too many to show."""
        picked = {*[label for label in self.order if label != baseline][: limit - (baseline in self.order)], baseline}
        return [label for label in self.block.arms if label in picked and label in self.estimates]


@dataclass(frozen=True)
class Numbers:
    """A study's numbers.

    Args:
        plan: The study.
        standing: How far it has come.
        arms: The finished runs of every arm.
        blocks: The settings in which arms are compared.
    """

    plan: Plan
    standing: Standing
    arms: list[ArmRuns]
    blocks: list[Told]

    @property
    def study(self) -> Study:
        return self.plan.study

    @property
    def folder(self) -> Folder:
        return self.standing.folder

    @property
    def metric(self) -> str:
        return self.study.compare.metric

    @property
    def lower(self) -> bool:
        """Whether less of the metric is better."""
        return lower_is_better(self.metric)

    @cached_property
    def repetitions(self) -> list[CellRun]:
        """Every finished repetition."""
        return [run for arm in self.arms for run in arm.repetitions]

    @cached_property
    def runs(self) -> list[CellRun]:
        """Every finished run once."""
        return list({run.cell.name: run for arm in self.arms for run in [*arm.trials, *arm.repetitions]}.values())

    @cached_property
    def pairs(self) -> int:
        """Number of comparisons, which are one family."""
        return sum(len(told.comparisons) for told in self.blocks)

    @cached_property
    def decimals(self) -> int:
        """Decimals of the metric."""
        estimates = [one for told in self.blocks for one in told.estimates.values()]
        return decimals_for((one.high - one.low) / 2 for one in estimates)

    @property
    def confidence(self) -> str:
        """Of the intervals, as percent."""
        return f"{100 * (1 - self.study.compare.level):g}%"


def gather(plan: Plan, folder: Folder) -> Numbers:
    """The numbers of what has finished."""
    standing = Standing(plan, folder)
    found = finished(standing)
    settings, compared = plan.study.compare, blocks(plan, found)
    known = [seen(block, settings.metric, settings.split) for block in compared]
    verdicts = _verdicts(compared, known, plan.study)
    told = [_told(block, what, verdicts, plan.study) for block, what in zip(compared, known, strict=True)]
    return Numbers(plan, standing, found, told)


def _verdicts(compared: Sequence[Block], known: Sequence[Seen], study: Study) -> Mapping[tuple[str, str], Comparison]:
    """The comparisons of all blocks together, since they are one family, by the names of both arms."""
    evidence = {
        block.names[label]: one for block, what in zip(compared, known, strict=True) for label, one in what.evidence.items()
    }
    wanted = [
        (block.names[one], block.names[other]) for block in compared for one, other in pairs(block, study.compare.baseline)
    ]
    found = compare(evidence, wanted, level=study.compare.level, correction=study.compare.correction) if wanted else []
    return {(one.arm, one.other): one for one in found}


def _told(block: Block, what: Seen, verdicts: Mapping[tuple[str, str], Comparison], study: Study) -> Told:
    names = block.names
    compared = [
        replace(verdicts[names[one], names[other]], arm=one, other=other)
        for one, other in pairs(block, study.compare.baseline)
        if (names[one], names[other]) in verdicts
    ]
    estimates = {label: estimate(one, level=study.compare.level) for label, one in what.evidence.items()}
    means = {label: one.mean for label, one in estimates.items()}
    sign = -1 if lower_is_better(study.compare.metric) else 1
    signed = {label: sign * mean for label, mean in means.items() if isfinite(mean)}
    letters = groups(signed, compared) if 1 < len(signed) <= LETTERED else {}
    costs = {label: cost(block.arms[label].repetitions) for label in estimates}
    return Told(block, what, estimates, compared, letters, costs, in_order(means, study.compare.metric))
