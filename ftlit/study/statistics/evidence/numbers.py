"""What examples add to the metrics of text regression."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftlit.study.statistics.evidence.rows import Rows
from ftlit.study.statistics.evidence.scores import Sums, correlation, mean_of, root_mean


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
        return correlation(said, true, float(true.mean()))
    if metric == "spearman":
        from scipy.stats import rankdata

        return correlation(rankdata(said, axis=1), rankdata(true, axis=1), (said.shape[1] + 1) / 2)
    return None
