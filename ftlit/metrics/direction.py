"""Which way a metric is better."""

LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "perplexity", "bits_per_byte")


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better; its name may stand behind a split, as in ``val/loss``."""
    return metric.rsplit("/", 1)[-1] in LOWER_IS_BETTER
