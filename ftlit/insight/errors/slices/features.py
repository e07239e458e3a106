"""Properties of examples by which they are sliced: categories, and numbers in bins."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.data.rows.cells import number

if TYPE_CHECKING:
    from pandas import DataFrame

QUANTILES = (0.2, 0.4, 0.6, 0.8)  # at which numbers are binned
FEW = 6  # different numbers up to which each is a category
MOST_VALUES = 200  # of a column; one with more is taken for a text or an id


@dataclass(frozen=True)
class Feature:
    """A property with a few values.

    Args:
        name: Name of the property.
        codes: Position of each example's value in ``values``, ``(examples,)``; -1 for none.
        values: The values as text.
        flag: Whether the second of two values is that an example has the property.
    """

    name: str
    codes: np.ndarray
    values: Sequence[str]
    flag: bool = False

    def slice_name(self, code: int) -> str:
        """The slice of the examples with a value."""
        return f"{self.name}: {self.values[code]}"


def binned(name: str, numbers: np.ndarray, unit: str = "") -> Feature:
    """Numbers in up to five bins of about equal size, or as categories if there are few different ones.

    Args:
        name: Name of the property.
        numbers: The number of each example, ``(examples,)``; NaN for none.
        unit: What the numbers count.
    """
    known = np.isfinite(numbers)
    different = np.unique(numbers[known])
    unit = unit if unit in ("", "%") else f" {unit}"
    if len(different) <= FEW:
        codes = np.where(known, np.searchsorted(different, np.where(known, numbers, 0)), -1)
        return Feature(name, codes.astype(np.int32), [_digits(one) + unit for one in different])
    edges = np.unique(np.quantile(numbers[known], QUANTILES, method="lower"))
    edges = edges[edges < different[-1]]
    codes = np.where(known, np.searchsorted(edges, numbers, side="left"), -1)
    ends = [_digits(edge) for edge in edges]
    inner = [f"> {low}, ≤ {high}" for low, high in pairwise(ends)]
    return Feature(name, codes.astype(np.int32), [text + unit for text in (f"≤ {ends[0]}", *inner, f"> {ends[-1]}")])


def _digits(value: float) -> str:
    return f"{int(value)}" if float(value).is_integer() else f"{value:.3g}"


def categories(name: str, values: Sequence[Any]) -> Feature:
    """Categories, sorted; None and NaN are no value."""
    from pandas import Series, factorize

    codes, different = factorize(Series(list(values), dtype=object), use_na_sentinel=True)
    texts = np.array([str(one) for one in different], dtype=object)
    order = np.argsort(texts, kind="stable")
    new = np.append(np.argsort(order), -1)  # the last one is that of -1
    return Feature(name, new[codes].astype(np.int32), texts[order].tolist())


def flags(name: str, values: np.ndarray) -> Feature:
    """A property that an example has or has not."""
    return Feature(name, values.astype(np.int32), ["no", "yes"], flag=True)


def column_feature(name: str, values: Sequence[Any]) -> Feature | None:
    """The feature of a column of a table: numbers are binned, also those of a csv, which are texts.

    Returns:
        None for a column with a single value, with lists, or with more than `MOST_VALUES` texts.
    """
    from pandas import isna

    try:
        found = categories(name, [None if isinstance(value, str) and not value.strip() else value for value in values])
    except TypeError:  # of lists and objects
        return None
    if len(found.values) < 2:
        return None
    first = next(value for value in values if not isna(value))
    numbers = [number(value) for value in found.values] if not isinstance(first, bool) else [None]
    if all(value is not None for value in numbers) and len(numbers) > FEW:
        return binned(name, np.append(np.array(numbers, dtype=float), np.nan)[found.codes])
    return found if len(found.values) <= MOST_VALUES else None


def frame_features(frame: "DataFrame") -> list[Feature]:
    """The features of the columns of a data frame."""
    found = (column_feature(str(name), frame[name].tolist()) for name in frame.columns)
    return [feature for feature in found if feature is not None]
