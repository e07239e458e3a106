"""Whether lower or higher values of a metric are better."""

from typing import Any

# For metrics computed outside torchmetrics, and for reports and studies, which know the names of metrics only.
LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "perplexity", "bits_per_byte")


def lower_is_better(metric: str, metrics: Any = None) -> bool:
    """Return whether lower values of a metric are better.

    Args:
        metric: Name of the metric, with or without its split, such as `val/loss`.
        metrics: Collection of torchmetrics by name. The `higher_is_better` of a metric in it has priority.
    """
    name = metric.rsplit("/", 1)[-1]
    own = metrics[name] if metrics is not None and name in metrics else None
    higher = getattr(own, "higher_is_better", None)
    return name in LOWER_IS_BETTER if higher is None else not higher
