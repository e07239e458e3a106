"""Which values of a metric are better, as its class or its task says and never by a guess, and which ones it can have."""

import math
import re
from collections.abc import Mapping
from typing import Any

from ftlit.errors import UserError

_SCORES = ("precision", "recall", "f1")
_LOWER = (
    *("loss", "mse", "rmse", "mae"),
    *(f"{name}{end}" for name in ("perplexity", "bits_per_byte") for end in ("", "_of_text")),
)
_HIGHER = (
    *("accuracy", "auroc", "mcc", "pearson", "spearman", "nsp_accuracy", "pattern_match"),
    *_SCORES,
    *(f"{score}_{average}" for score in _SCORES for average in ("macro", "micro", "weighted")),
    *(f"{score}{part}" for score in ("exact_match", "f1") for part in ("", "_answerable", "_unanswerable")),
    *("bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "meteor", "token_f1"),
    *(f"bertscore_{score}" for score in _SCORES),
)
# Of the metrics of the tasks in this package, whether higher values are better.
HIGHER_IS_BETTER: Mapping[str, bool] = {**dict.fromkeys(_HIGHER, True), **dict.fromkeys(_LOWER, False)}

SHARES = re.compile(
    r"((\w+_)?accuracy|auroc|exact_match(_\w+)?|em|pattern_match|meteor|rouge(1|2|L|Lsum)|(\w+_)?(f1|precision|recall)(_\w+)?)$"
)
CORRELATIONS = ("mcc", "pearson", "spearman")


def higher_is_better(metric: str, metrics: Any = None, declared: Mapping[str, bool] | None = None) -> bool | None:
    """Return whether higher values of a metric are better, or None if nothing says so.

    Args:
        metric: Name of the metric, with or without its split, such as `val/loss`.
        metrics: Collection of torchmetrics by name, whose classes have `higher_is_better`.
        declared: What the task or the study declares by name; it has priority.
    """
    name = metric.rsplit("/", 1)[-1]
    if declared and name in declared:
        return declared[name]
    own = metrics[name] if metrics is not None and name in metrics else None
    known = getattr(own, "higher_is_better", None)
    return HIGHER_IS_BETTER.get(name) if known is None else bool(known)


def lower_is_better(metric: str, metrics: Any = None, declared: Mapping[str, bool] | None = None, key: str = "") -> bool:
    """Return whether lower values of a metric are better.

    Args:
        metric: Name of the metric, with or without its split.
        metrics: Collection of torchmetrics by name.
        declared: What the task or the study declares by name.
        key: What to set if the direction is unknown, for the error message.

    Raises:
        UserError: Neither the class of the metric nor the task says which values are better.
    """
    known = higher_is_better(metric, metrics, declared)
    if known is None:
        raise UserError(unknown_direction(metric, key))
    return not known


def unknown_direction(metric: str, key: str = "") -> str:
    """Return the sentence about a metric of which nothing says whether higher values are better."""
    name = metric.rsplit("/", 1)[-1]
    return (
        f"{metric!r} may be better when higher or when lower: the class of the metric has no `higher_is_better`; "
        f"{key or f'set `higher_is_better = {{{name!r}: True}}` (or False) in the class of the task'}"
    )


def bounds(metric: str) -> tuple[float, float]:
    """The bounds of a metric by its name; infinite for metrics without bounds, and for unknown ones."""
    name = metric.rsplit("/", 1)[-1]
    if name in CORRELATIONS:
        return -1.0, 1.0
    return (0.0, 1.0) if SHARES.fullmatch(name) else (-math.inf, math.inf)
