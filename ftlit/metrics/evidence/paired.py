"""The 95% interval of the difference of a metric between two models, by the bootstrap over the examples that both answered."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ftlit.metrics.evidence.intervals import LEVEL, documents, resamples, weighted_sums
from ftlit.metrics.evidence.kinds import EVIDENCE_KINDS
from ftlit.metrics.evidence.rows import Rows, aligned


def paired_interval(
    kind: str | None, metric: str, first: Rows, second: Rows, settings: Mapping[str, Any]
) -> tuple[float, float] | None:
    """The interval of the second model's metric minus the first's, or None if it cannot be computed from predictions.

    Each resample has the same examples for both models, so what they have in common cancels. If no resample differs, the
    interval of a share is as wide as the share of differing examples can be that shows none (Clopper and Pearson, 1934); other
    metrics have none then.

    Args:
        kind: Kind of evidence, as the run record names it (see `EVIDENCE_KINDS`).
        metric: Name of the metric, as in results.json.
        first: The predictions of the first model.
        second: The predictions of the second model, on the same examples in any order.
        settings: The task's ``init_args``, of which `METRIC_SETTINGS` decide what metrics count.

    Raises:
        UserError: The models answered different examples.
    """
    if kind not in EVIDENCE_KINDS or not first:
        return None
    sums = EVIDENCE_KINDS[kind].count(metric, list(aligned({"the first": first, "the second": second}).values()), settings)
    groups, count = documents(first)
    if sums is None or count < 2:
        return None
    one, other = (weighted_sums(counts, groups, count) for counts in sums.counts)
    drawn = np.concatenate([np.asarray(sums.score(other(w)) - sums.score(one(w))) for w in resamples(count)])
    return _ends(drawn, 1 - (LEVEL / 2) ** (1 / count) if sums.is_share else None)


def _ends(drawn: np.ndarray, unseen: float | None) -> tuple[float, float] | None:
    """The ends of the interval; `unseen` is the largest difference that may not have shown, if that is known."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2:
        return None
    low, high = (float(end) for end in np.quantile(known, [LEVEL / 2, 1 - LEVEL / 2]))
    if low < high or unseen is None:
        return (low, high) if low < high else None
    return low - unseen, high + unseen
