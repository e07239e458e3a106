"""The numbers of a report, from which every format is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

from ftlit.metrics.direction import bounds
from ftlit.study.plan.cells import Arm, Plan
from ftlit.study.plan.settings import Study
from ftlit.study.report.content.blocks import Block, families, ranked, study_blocks
from ftlit.study.report.content.paired import PairedEvidence, paired_evidence
from ftlit.study.selection.choices import Tried, selection_variance, tried_settings
from ftlit.study.sequential.texts import at_any_time
from ftlit.study.state.direction import study_lower_is_better
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.study.state.runs import ArmRuns, CellRun, finished_runs
from ftlit.study.statistics.compare import Analysis, Comparison, Estimate, analyse
from ftlit.study.statistics.multiplicity import groups
from ftlit.study.statistics.runs import Evidence
from ftlit.util.render.formats import decimals_for

MAX_LETTERED = 60  # arms; with more, letters are unreadable


@dataclass(frozen=True)
class ArmCost:
    """The cost of an arm, as means over its repetitions; None for what was not measured.

    Args:
        trained: Number of trained parameters.
        share: Share of trained parameters among all parameters.
        seconds: Training time in seconds.
        memory: Peak memory in bytes.
        checkpoint: Size of a checkpoint in bytes.
    """

    trained: float | None
    share: float | None
    seconds: float | None
    memory: float | None
    checkpoint: float | None


def mean_cost(runs: Sequence[CellRun]) -> ArmCost:
    """The mean cost of runs."""

    def average(key: str) -> float | None:
        values = [run.results.get("efficiency", {}).get(key) for run in runs]
        known = [float(value) for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return ArmCost(
        *map(average, ("trained_parameters", "trained_share", "train_seconds", "peak_memory_bytes", "checkpoint_bytes"))
    )


@dataclass(frozen=True)
class BlockSummary:
    """The numbers of a block. Arms are named by their levels.

    Args:
        block: The block.
        paired: The evidence of its arms.
        estimates: Mean and interval of each arm with repetitions.
        comparisons: The comparisons of these arms that the study is about.
        pairs: Comparisons of all pairs of these arms.
        letters: Letters of the arms; arms that share one do not differ significantly.
        costs: Cost of each arm with repetitions.
        order: The arms from best to worst.
    """

    block: Block
    paired: PairedEvidence
    estimates: dict[str, Estimate]
    comparisons: list[Comparison]
    pairs: list[Comparison]
    letters: dict[str, str]
    costs: dict[str, ArmCost]
    order: list[str]

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str], Comparison]:
        return {(one.arm, one.other): one for one in [*self.pairs, *self.comparisons] if isfinite(one.difference)}

    def verdict(self, one: str, other: str) -> Comparison | None:
        """The comparison of two arms, in either order, of the first family if it is there; None if they were not compared."""
        return self._verdicts.get((one, other)) or self._verdicts.get((other, one))

    def against(self, baseline: str | None) -> list[Comparison]:
        """The comparisons with the baseline, in the order of the arms."""
        return [one for one in self.comparisons if one.other == baseline and isfinite(one.difference)]

    def best(self) -> list[str]:
        """The best arm, and those that do not differ significantly from it."""
        first, *rest = self.order
        return [first, *(label for label in rest if (one := self.verdict(first, label)) and not one.different)]

    @property
    def measured(self) -> bool:
        """Whether any arm has a mean."""
        return bool(self.order) and isfinite(self.estimates[self.order[0]].mean)

    def arms_to_show(self, baseline: str | None, limit: int) -> list[str]:
        """At most `limit` arms, in the order of the study: the best ones and the baseline."""
        picked = {*[label for label in self.order if label != baseline][: limit - (baseline in self.order)], baseline}
        return [label for label in self.block.arms if label in picked and label in self.estimates]


@dataclass(frozen=True)
class Numbers:
    """The numbers of a study.

    Args:
        plan: The study.
        progress: The progress of the study.
        arms: The finished runs of every arm.
        blocks: The settings in which arms are compared.
        analysis: The statistics of all arms.
        lower: Whether lower values of the metric are better.
        tried: What each search has tried, by the name of its arm.
    """

    plan: Plan
    progress: Progress
    arms: list[ArmRuns]
    blocks: list[BlockSummary]
    analysis: Analysis
    lower: bool
    tried: dict[str, list[Tried]]

    @property
    def study(self) -> Study:
        return self.plan.study

    @property
    def folder(self) -> Folder:
        return self.progress.folder

    @property
    def metric(self) -> str:
        return self.study.compare.primary

    @cached_property
    def repetitions(self) -> list[CellRun]:
        """All finished repetitions."""
        return [run for arm in self.arms for run in arm.repetitions]

    def planned(self, arm: Arm) -> int:
        """Number of repetitions of an arm that the results so far ask for."""
        return len(self.progress.seeds(arm))

    def planned_trials(self, arm: ArmRuns) -> int:
        """Number of trials of an arm that the results so far ask for."""
        return max(self.plan.trials_of_arm(self.planned(arm.arm)), len(arm.tried))

    @property
    def all_planned(self) -> int:
        """Number of repetitions of all arms that the results so far ask for."""
        return sum(map(self.planned, self.plan.arms))

    @cached_property
    def runs(self) -> list[CellRun]:
        """All finished runs, each once."""
        return list({run.cell.name: run for arm in self.arms for run in [*arm.trials, *arm.repetitions]}.values())

    @cached_property
    def pairs(self) -> int:
        """Number of comparisons in the first family."""
        return sum(len(summary.comparisons) for summary in self.blocks)

    @cached_property
    def decimals(self) -> int:
        """Number of decimals with which the metric is shown."""
        estimates = [one for summary in self.blocks for one in summary.estimates.values()]
        return decimals_for((one.high - one.low) / 2 for one in estimates)

    @property
    def confidence(self) -> str:
        """The confidence level, in percent."""
        return f"{100 * (1 - self.study.compare.level):g}%"


def gather(plan: Plan, folder: Folder) -> Numbers:
    """The numbers of all finished cells."""
    progress = Progress(plan, folder)
    found = finished_runs(progress)
    settings, compared = plan.study.compare, study_blocks(plan, found)
    known = [paired_evidence(block, settings.primary, settings.split) for block in compared]
    lower = study_lower_is_better(plan.study, folder)
    tried = tried_settings(plan, found, lower)
    added = selection_variance(plan, found, tried, lower)
    course = progress.course
    analysis = _analysis(compared, known, plan.study, settings.level, added, course.interval_level if course else None)
    if course is not None:
        analysis = at_any_time(analysis, course)
    summaries = [_summary(block, what, analysis, plan.study, lower) for block, what in zip(compared, known, strict=True)]
    return Numbers(plan, progress, found, summaries, analysis, lower, tried)


def analysed(progress: Progress, level: float) -> Analysis:
    """The statistics of the finished runs at a level."""
    plan, found = progress.plan, finished_runs(progress)
    settings, compared = plan.study.compare, study_blocks(plan, found)
    known = [paired_evidence(block, settings.primary, settings.split) for block in compared]
    lower = study_lower_is_better(plan.study, progress.folder)
    added = selection_variance(plan, found, tried_settings(plan, found, lower), lower)
    return _analysis(compared, known, plan.study, level, added)


def _analysis(
    compared: Sequence[Block],
    known: Sequence[PairedEvidence],
    study: Study,
    level: float,
    added: Mapping[str, float],
    interval_level: Callable[[Sequence[str]], float] | None = None,
) -> Analysis:
    """The statistics of all blocks, whose comparisons make up the families, by the names of the arms."""
    evidence, data = dict[str, Evidence](), dict[str, str]()
    wanted: list[list[tuple[str, str]]] = [[], []]
    for block, what in zip(compared, known, strict=True):
        evidence |= {block.names[label]: one for label, one in what.evidence.items()}
        data |= {block.names[label]: block.base for label in what.evidence}
        for family, found in zip(wanted, families(list(what.evidence), study.compare), strict=False):
            family += [(block.names[one], block.names[other]) for one, other in found]
    settings = study.compare
    return analyse(
        evidence, wanted, level=level, correction=settings.correction, margin=settings.margin,
        bounds=bounds(settings.primary), data=data, added=added, interval_level=interval_level,
    )  # fmt: skip


def _summary(block: Block, what: PairedEvidence, analysis: Analysis, study: Study, lower: bool) -> BlockSummary:
    labels = {name: label for label, name in block.names.items()}
    compared = [
        replace(one, arm=labels[one.arm], other=labels[one.other])
        for one in analysis.comparisons
        if one.arm in labels and one.other in labels
    ]
    first = [one for one in compared if one.family == "primary"]
    pairs = [one for one in compared if one.family == "secondary"] or first
    estimates = {label: analysis.estimates[block.names[label]] for label in what.evidence}
    means = {label: one.mean for label, one in estimates.items()}
    sign = -1 if lower else 1
    signed = {label: sign * mean for label, mean in means.items() if isfinite(mean)}
    letters = groups(signed, pairs) if 1 < len(signed) <= MAX_LETTERED else {}
    costs = {label: mean_cost(block.arms[label].repetitions) for label in estimates}
    return BlockSummary(block, what, estimates, first, pairs, letters, costs, ranked(means, lower))
