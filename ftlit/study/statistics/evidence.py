"""Evidence of arms: what each example adds to a metric, in each run of each arm."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftlit.metrics.evidence import EVIDENCE_KINDS, aligned
from ftlit.metrics.evidence.intervals import documents
from ftlit.metrics.evidence.rows import Rows
from ftlit.study.statistics.runs import Evidence


def joint_evidence(
    kind: str | None, metric: str, arms: Mapping[str, Mapping[int, Rows]], settings: Mapping[str, Any] | None = None
) -> dict[str, Evidence] | None:
    """The evidence of several arms over the same examples, counted in the same columns, and by document if rows name theirs.

    The columns of a macro average are the classes that any arm predicts. Arms that are compared with each other must
    therefore be counted together, so that the answers of one can take the place of another's.

    Args:
        kind: Kind of evidence, as the run record names it (see `EVIDENCE_KINDS`).
        metric: Name of the metric, as in results.json.
        arms: The predictions of each arm by seed.
        settings: The task's ``init_args``, of which `METRIC_SETTINGS` decide what metrics count.

    Returns:
        The evidence of each arm; None if the kind is unknown, or if the metric is not a function of sums over predictions,
        such as the loss and AUROC.

    Raises:
        UserError: Two runs were evaluated on different examples.
    """
    named = {f"{arm} (seed {seed})": rows for arm, runs in arms.items() for seed, rows in runs.items()}
    if kind not in EVIDENCE_KINDS or not named:
        return None
    rows = list(aligned(named).values())
    sums = EVIDENCE_KINDS[kind].count(metric, rows, settings or {})
    if sums is None:
        return None
    numbers, count = documents(rows[0])
    clusters = numbers if count < len(rows[0]) else None
    found, first = {}, 0
    for arm, runs in arms.items():
        counts = sums.counts[first : first + len(runs)]
        found[arm] = Evidence(counts, sums.score, tuple(runs), clusters)
        first += len(runs)
    return found


def evidence(
    kind: str | None, metric: str, runs: Sequence[Rows], seeds: Sequence[int], settings: Mapping[str, Any] | None = None
) -> Evidence | None:
    """The evidence of one arm. Arms that are compared with each other need `joint_evidence`.

    Args:
        kind: Kind of evidence, as the run record names it.
        metric: Name of the metric, as in results.json.
        runs: The predictions of each seed.
        seeds: The seeds.
        settings: The task's ``init_args``.
    """
    found = joint_evidence(kind, metric, {"the run": dict(zip(seeds, runs, strict=True))}, settings)
    return found["the run"] if found else None
