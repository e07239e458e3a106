"""Differences of the metrics of two runs, with intervals and tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, isfinite, isnan

from ftlit.diff.checks import check_same_counting, evidence_kind, model_settings
from ftlit.errors import UserError
from ftlit.exports.run import Run
from ftlit.metrics.evidence import aligned, why_no_evidence
from ftlit.metrics.evidence.rows import Rows
from ftlit.study.statistics.compare import compare
from ftlit.study.statistics.evidence import joint_evidence
from ftlit.study.statistics.runs import Evidence

OUTDATED = "none: the predictions do not lead to these values"
RESULT_TOLERANCE = 1e-3  # results are logged in single precision


@dataclass(frozen=True)
class MetricDifference:
    """A metric of two runs.

    Attributes:
        metric: Name of the metric.
        a: Its value in the first run; None if the run does not have it.
        b: Its value in the second run.
        difference: The second value minus the first.
        low: Lower end of the 95% interval of the difference; None if there is no interval.
        high: Upper end of the interval.
        p: The p-value of the difference.
        test: The test behind `p`, or the reason why the predictions were not used.
    """

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test: str | None = None


def paired_predictions(a: Run, b: Run, split: str) -> dict[str, Mapping[int, Rows]]:
    """The predictions of both runs, example by example.

    Raises:
        UserError: The predictions are missing or cannot be paired, or no metric can be computed from them.
    """
    if reason := why_no_evidence(str(a.record.get("task")), evidence_kind(a)):
        raise UserError(reason)
    check_same_counting([a, b])
    rows = aligned({str(run.folder): run.prediction_rows(split) for run in (a, b)})
    return {name: {0: found} for name, found in rows.items()}


def metric_differences(a: Run, b: Run, split: str, arms: Mapping[str, Mapping[int, Rows]] | None) -> list[MetricDifference]:
    """Every metric of a split, with an interval if it can be computed from predictions.

    Args:
        a: The first run.
        b: The second run.
        split: The split.
        arms: The result of `paired_predictions`; None leaves the intervals out.
    """
    one, two = a.results[split], b.results[split]
    found = []
    for name in dict.fromkeys([*one, *two]):
        known = [run[name] for run in (one, two) if name in run and isfinite(run[name])]
        evidence = joint_evidence(evidence_kind(a), name, arms, model_settings(a)) if arms and len(known) == 2 else None
        found.append(_metric(name, {str(a.folder): one.get(name), str(b.folder): two.get(name)}, evidence))
    return found


def _metric(name: str, values: Mapping[str, float | None], evidence: Mapping[str, Evidence] | None) -> MetricDifference:
    """The difference of a metric given its values by run, with an interval if there is evidence."""
    one, two = values.values()
    if one is None or two is None:
        return MetricDifference(name, one, two, None)
    if evidence is None:
        return MetricDifference(name, one, two, two - one)
    first, second = values
    if not (_agrees(evidence[first], one) and _agrees(evidence[second], two)):
        return MetricDifference(name, one, two, two - one, test=OUTDATED)
    found = compare(evidence, [(second, first)])[0]
    low, high, p = (None if isnan(number) else number for number in (found.low, found.high, found.p))
    return MetricDifference(name, one, two, two - one, low, high, p, found.test)


def _agrees(evidence: Evidence, value: float) -> bool:
    """Whether the value in results.json follows from the predictions; it does not if only one file was written again."""
    computed = float(evidence.score(evidence.counts[0].sum(0)))
    return isclose(computed, value, rel_tol=RESULT_TOLERANCE, abs_tol=RESULT_TOLERANCE)
