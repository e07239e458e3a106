"""What examples add to the metrics of text regression."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import Sums, correlation, mean_of, root_mean
from ftlit.metrics.exact.correlations import ranks


def text_regression(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Errors and correlations.

    Spearman's correlation is Pearson's correlation of the ranks in the whole split. Resamples do not rank their examples
    again, so the result is its linear approximation.
    """
    said, true = (np.array([[float(row[key]) for row in rows] for rows in runs]) for key in ("prediction", "label"))
    if metric == "mse":
        return mean_of((said - true) ** 2)
    if metric == "rmse":
        return Sums(mean_of((said - true) ** 2).counts, root_mean)
    if metric == "mae":
        return mean_of(abs(said - true))
    if metric == "pearson":
        return correlation(said, true)
    if metric == "spearman":
        return correlation(np.apply_along_axis(ranks, 1, said), np.apply_along_axis(ranks, 1, true))
    return None
