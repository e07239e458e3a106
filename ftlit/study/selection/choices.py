"""How far chance decided which values the arms of a study chose."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import median, stdev

from ftlit.study.plan.cells import Plan, Search
from ftlit.study.report.content.blocks import Block
from ftlit.study.report.content.paired import paired_evidence
from ftlit.study.selection.chance import choice_variance, lead, pooled
from ftlit.study.selection.trials import ranked
from ftlit.study.state.runs import ArmRuns, CellRun
from ftlit.study.statistics.runs import Evidence
from ftlit.util.render.formats import chosen_text


@dataclass(frozen=True)
class Tried:
    """The settings that a search tried: in full length, or in the last round of halving that had several.

    Args:
        settings: The evidence of each setting on validation, from the best to the worst; the two best if seeds choose for
            themselves.
        seeds: Seeds of each trial.
    """

    settings: list[Evidence]
    seeds: int


def tried_settings(plan: Plan, arms: Sequence[ArmRuns], lower: bool) -> dict[str, list[Tried]]:
    """What each search has tried, by the name of its arm; nothing for searches with fewer than two finished settings.

    Args:
        plan: The study.
        arms: The finished runs of its arms.
        lower: Whether lower values of the compared metric are better.
    """
    if plan.study.select is None:
        return {}
    found = {}
    for arm in arms:
        known = [(search, _best_first(plan, search, arm, lower)) for search in plan.searches(arm.arm)]
        found[arm.arm.name] = [Tried(_evidence(plan, arm, runs), len(s.seeds)) for s, runs in known if runs]
    return found


def _best_first(plan: Plan, search: Search, arm: ArmRuns, lower: bool) -> list[list[CellRun]]:
    """The runs of each setting, from the best to the worst, of which all seeds have finished; in the last round of halving in
    which two or more have."""
    own = [run for run in arm.trials if run.cell.seed in search.seeds]
    for rung in sorted({run.cell.rung for run in own}, key=lambda rung: rung or inf, reverse=True):
        grouped: dict[str, list[CellRun]] = {}
        for run in own:
            if run.cell.rung == rung:
                grouped.setdefault(chosen_text(run.cell.chosen), []).append(run)
        complete = [runs for runs in grouped.values() if len(runs) == len(search.seeds)]
        order = ranked([_mean(runs, plan.study.compare.primary) for runs in complete], lower)
        if len(order) > 1:
            return [complete[place] for place in order][: 2 if search.own is not None else None]
    return []


def _mean(runs: list[CellRun], metric: str) -> float:
    return sum(float(run.results["validation"].get(metric, float("nan"))) for run in runs) / len(runs)


def _evidence(plan: Plan, arm: ArmRuns, settings: list[list[CellRun]]) -> list[Evidence]:
    """The evidence of settings, paired as if they were arms of a study that is compared on validation."""
    as_arms = {str(place): ArmRuns(arm.arm, {}, [], runs) for place, runs in enumerate(settings)}
    return list(paired_evidence(Block("", {}, as_arms, ""), plan.study.compare.primary, "validation").evidence.values())


def selection_variance(plan: Plan, arms: Sequence[ArmRuns], tried: dict[str, list[Tried]], lower: bool) -> dict[str, float]:
    """What the choice of values adds to the variance of the mean of each arm, if arms choose once for all of their seeds.

    All repetitions of such an arm share one choice, so their spread says nothing about it, and more seeds do not make the
    variance smaller: it adds to the squared standard error of the arm's mean, undivided, on the scale of the metric. It is
    estimated on validation, by choosing again on resampled examples (see `choice_variance`); that seeds differ counts as
    well where an arm has two or more repetitions. The arms of a study inform each other (see `pooled`). With `select.nested`,
    the spread over seeds includes the choice already, and nothing is added.

    Args:
        plan: The study.
        arms: The finished runs of its arms.
        tried: What they have tried, from `tried_settings`.
        lower: Whether lower values of the metric are better.

    Returns:
        The variance by the name of the arm; arms that did not choose, or chose by seed, are not there.
    """
    if plan.study.select is None or plan.study.select.by_seed:
        return {}
    found = {}
    for arm in arms:
        for one in tried.get(arm.arm.name, []):
            deviation = _deviation(arm, plan.study.compare.primary) / one.seeds**0.5
            found[arm.arm.name] = choice_variance(one.settings, lower, deviation)
    return pooled(found)


def _deviation(arm: ArmRuns, metric: str) -> float:
    """The standard deviation of an arm's repetitions on validation; 0 for fewer than two."""
    values = [float(run.results.get("validation", {}).get(metric, float("nan"))) for run in arm.repetitions]
    known = [value for value in values if value == value]
    return stdev(known) if len(known) > 1 else 0.0


def chance_choices(tried: dict[str, list[Tried]]) -> list[str]:
    """Arms whose best two settings cannot be told apart on validation, each with the rows that would do it."""
    found = []
    for name, searches in tried.items():
        leads = [lead(one.settings[0], one.settings[1]) for one in searches if one.settings[0].examples > 1]
        unsure = [one for one in leads if one.by_chance]
        if unsure:
            rows = median(one.rows_needed for one in unsure)
            needed = (
                f"about {float(f'{rows:.2g}'):,.0f} rows instead of {unsure[0].rows:,}" if isfinite(rows) else "equally good"
            )
            found.append(f"{name} ({f'{len(unsure)} of {len(leads)} seeds, ' if len(leads) > 1 else ''}{needed})")
    return found
