"""The loss of each slice by one property, compared with the rest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ftlit.insight.errors.slices.features import Feature, frame_features
from ftlit.insight.errors.slices.statistics import contrasts

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("property", "slice", "size", "share", "mean", "rest", "difference", "low", "high", "p")
LEAST = 10  # examples of a slice, and of the rest, that is tested


def slice_table(
    features: "DataFrame | Sequence[Feature]", losses: np.ndarray, groups: np.ndarray | None = None, least: int = LEAST
) -> "DataFrame":
    """Compare the examples with each value of each property with all others.

    Args:
        features: Properties of the examples: a data frame, or features. Numbers are binned.
        losses: The loss of each example, ``(examples,)``; 1 for a wrong and 0 for a right prediction.
        groups: The document of each example, ``(examples,)``, if those of a document are not independent.
        least: Number of examples below which a slice is left out.

    Returns:
        A row for each slice, beginning with the smallest p: ``property``, ``slice``, ``size``, ``share`` of the examples,
        ``mean`` loss, that of the ``rest``, their ``difference`` with its 95% interval ``low`` to ``high``, ``p``, and
        ``p_adjusted`` for all slices of the table (Benjamini and Hochberg, 1995).
    """
    from pandas import DataFrame, concat
    from scipy.stats import false_discovery_control

    losses = np.asarray(losses, dtype=float)
    binary, owners = is_binary(losses), group_numbers(groups)
    parts = [_of_feature(feature, losses, owners, binary) for feature in as_features(features)]
    table = concat(parts, ignore_index=True) if parts else DataFrame(columns=list(COLUMNS))
    table = table[(table["size"] >= least) & (table["size"] <= len(losses) - least) & table["p"].notna()]
    table = table.sort_values(["p", "difference"], ascending=[True, False], kind="stable") if len(table) else table
    table["p_adjusted"] = false_discovery_control(table["p"].to_numpy(dtype=float)) if len(table) else []
    return table.reset_index(drop=True)


def _of_feature(feature: Feature, losses: np.ndarray, groups: np.ndarray | None, binary: bool) -> "DataFrame":
    from pandas import DataFrame

    found = contrasts(losses, feature.codes, len(feature.values), groups, binary)
    table = DataFrame(
        {
            "property": feature.name,
            "slice": [feature.slice_name(code) for code in range(len(feature.values))],
            "size": found.size,
            "share": found.size / len(losses),
            "mean": found.mean,
            "rest": found.rest,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "p": found.p,
        }
    )
    return table.iloc[1:] if feature.flag else table  # the other value has the same numbers, turned round


def with_sign(table: "DataFrame", sign: int) -> "DataFrame":
    """A table of losses, or of scores of which higher is better if the sign is -1, in which a loss is a negative score."""
    if sign > 0:
        return table
    turned = {name: -table[name] for name in ("mean", "rest", "difference")}
    return table.assign(**turned, low=-table["high"], high=-table["low"])


def as_features(features: "DataFrame | Sequence[Feature]") -> list[Feature]:
    """Features, made of the columns of a data frame if that is what was given."""
    return frame_features(features) if hasattr(features, "columns") else list(features)


def is_binary(losses: np.ndarray) -> bool:
    """Whether losses say right and wrong."""
    return bool(np.isin(losses, (0, 1)).all())


def group_numbers(groups: np.ndarray | None) -> np.ndarray | None:
    """Documents as numbers from 0, ``(examples,)``; None if each example is one of its own."""
    if groups is None:
        return None
    found = np.unique(groups, return_inverse=True)[1]
    return None if found.max(initial=0) + 1 == len(found) else found
