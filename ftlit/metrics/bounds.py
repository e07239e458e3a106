"""The least and the largest value that a metric can have."""

import math
import re

SHARES = re.compile(r"(accuracy|auroc|exact_match|em|joint_accuracy|(\w+_)?(f1|precision|recall)(_\w+)?)$")
CORRELATIONS = ("mcc", "pearson", "spearman")


def bounds(metric: str) -> tuple[float, float]:
    """The bounds of a metric by its name; infinite for metrics without bounds, and for unknown ones."""
    name = metric.rsplit("/", 1)[-1]
    if name in CORRELATIONS:
        return -1.0, 1.0
    return (0.0, 1.0) if SHARES.fullmatch(name) else (-math.inf, math.inf)
