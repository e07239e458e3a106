"""The evidence of arms: what each example adds to a metric, from the predictions of runs."""

from collections.abc import Sequence

from ftlit.diff.arms.grouping import RunArm
from ftlit.diff.checks import check_same_counting, model_settings
from ftlit.errors import UserError, near
from ftlit.exports.run import Run
from ftlit.metrics.evidence import aligned
from ftlit.study.report.content.paired import by_seed, common_kind, counted
from ftlit.study.statistics.runs import Evidence


def evidence_of_runs(arms: Sequence[RunArm], metric: str, split: str) -> tuple[dict[str, Evidence], list[str]]:
    """The evidence of each arm, and notes; it is by seed only if the metric cannot be computed from predictions.

    Args:
        arms: The arms.
        metric: Name of the metric, as in results.json.
        split: The split.

    Raises:
        UserError: A run does not have the metric, or the runs were evaluated on different examples.
    """
    runs = [run for arm in arms for run in arm.runs.values()]
    for run in runs:
        _check_metric(run, metric, split)
    rows = aligned({str(run.folder): run.prediction_rows(split) for run in runs})
    known = {arm.name: by_seed(arm.runs, metric, split) for arm in arms}
    kind, reason = common_kind(runs)
    if kind is None:
        return known, [f"Only seeds were compared, because {reason}."]
    check_same_counting(runs)
    by_arm = {arm.name: {seed: rows[str(run.folder)] for seed, run in arm.runs.items()} for arm in arms}
    return counted(kind, metric, by_arm, known, model_settings(runs[0]))


def _check_metric(run: Run, metric: str, split: str) -> None:
    known = run.results[split]
    if metric not in known:
        raise UserError(f"{run.folder} has no metric {metric!r} in its results for {split}. {near(metric, known)}")
    value = known[metric]
    if not isinstance(value, int | float) or value != value:
        raise UserError(f"{run.folder} has the {metric} {value} on {split}, which is no number; leave this run out")
