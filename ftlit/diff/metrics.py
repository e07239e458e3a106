"""How the metrics of two runs differ, and how surely."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, isfinite, isnan
from typing import Any

from ftlit.errors import UserError
from ftlit.exports.run import Run
from ftlit.study.statistics.compare import Evidence, compare
from ftlit.study.statistics.evidence import aligned, joint_evidence
from ftlit.study.statistics.evidence.rows import Rows

SPLITS = ("test", "validation")
MEASURES = ("negative_label", "pattern")  # settings of a task that decide what its metrics count
OUTDATED = "none: the predictions do not give these values"
TOLERANCE = 1e-3  # results are logged in single precision


@dataclass(frozen=True)
class MetricDifference:
    """A metric of two runs.

    Attributes:
        metric: Its name.
        a: Its value in the first run, None where it has none.
        b: Its value in the second.
        difference: Second less first.
        low: Lower end of the 95% interval of the difference, None where there is no interval.
        high: Upper end.
        p: How likely a difference so large is, were there none.
        test: The test that `p` is of, or why there is none though predictions are there.
    """

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test: str | None = None


def model_settings(run: Run) -> dict[str, Any]:
    """The ``init_args`` of a run's task."""
    return (run.config.get("model") or {}).get("init_args") or {}


def common_split(a: Run, b: Run, wanted: str | None) -> str:
    """The split whose metrics are compared: the wanted one, or else test where both have it, or else validation.

    Raises:
        UserError: One of the runs has no results of it.
    """
    if wanted:
        lacking = next((run for run in (a, b) if wanted not in run.results), None)
        if lacking is None:
            return wanted
        raise UserError(f"{lacking.folder} has no results of {wanted}; {lacking.evaluation_command(wanted)} makes them")
    common = [split for split in SPLITS if split in a.results and split in b.results]
    if not common:
        has = [", ".join(split for split in SPLITS if split in run.results) or "no split" for run in (a, b)]
        raise UserError(
            f"{a.folder} has results of {has[0]} and {b.folder} of {has[1]}, none in common; "
            f"{a.evaluation_command('validation')} and "
            "the same for the other make some"
        )
    return common[0]


def paired(a: Run, b: Run, split: str) -> dict[str, Mapping[int, Rows]]:
    """The predictions of both runs, example by example.

    Raises:
        UserError: They cannot be paired, or are not there.
    """
    for key in MEASURES:
        if model_settings(a).get(key) != model_settings(b).get(key):
            raise UserError(f"model.{key} differs, so that the metrics do not count the same")
    rows = aligned({str(run.folder): run.prediction_rows(split) for run in (a, b)})
    return {name: {0: found} for name, found in rows.items()}


def metric_differences(a: Run, b: Run, split: str, arms: Mapping[str, Mapping[int, Rows]] | None) -> list[MetricDifference]:
    """Every metric of a split, with an interval where it follows from predictions.

    Args:
        a: The first run.
        b: The second run.
        split: The split.
        arms: What `paired` gave; None leaves the intervals out.
    """
    one, two, task = a.results[split], b.results[split], str(a.record.get("task"))
    found = []
    for name in dict.fromkeys([*one, *two]):
        known = [run[name] for run in (one, two) if name in run and isfinite(run[name])]
        evidence = joint_evidence(task, name, arms, model_settings(a)) if arms and len(known) == 2 else None
        found.append(_metric(name, {str(a.folder): one.get(name), str(b.folder): two.get(name)}, evidence))
    return found


def _metric(name: str, values: Mapping[str, float | None], evidence: Mapping[str, Evidence] | None) -> MetricDifference:
    """A metric by the values of both runs, and its interval where there is evidence."""
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
    """Whether predictions give the value that the results hold: not where one of the two was made anew later."""
    made = float(evidence.score(evidence.counts[0].sum(0)))
    return isclose(made, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
