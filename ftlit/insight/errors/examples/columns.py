"""The columns of a run's data that the model does not read, as properties of the examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.data.rows.rows import has_own_ids
from ftlit.data.shared.base import TaskData
from ftlit.insight.errors.slices.features import Feature, column_feature

if TYPE_CHECKING:
    from datasets import Dataset


def data_features(data: TaskData, ids: Sequence[str]) -> list[Feature]:
    """The columns of the rows from which examples came, but for those of inputs and right answers.

    Args:
        data: The data of the run.
        ids: Id of each example; an example whose row is not found has no value.
    """
    raw, used = data.rows.raw, {*data.columns().values(), *data.optional_columns().values(), "id"}
    names = dict.fromkeys(name for rows in raw.values() for name in rows.column_names if name not in used)
    places = {split: _places(rows, split, ids) for split, rows in raw.items()}
    found = (column_feature(name, _values(name, raw, places, len(ids))) for name in names)
    return [feature for feature in found if feature is not None]


def _places(rows: "Dataset", split: str, ids: Sequence[str]) -> np.ndarray:
    """The row of each example in a split of the source, ``(examples,)``; -1 for examples of other splits."""
    if has_own_ids(rows):
        known = {f"{split}:{name}": i for i, name in enumerate(rows["id"][:])}
        return np.array([known.get(id_, -1) for id_ in ids], dtype=int)
    names = (id_.removeprefix(f"{split}:") if id_.startswith(f"{split}:") else "" for id_ in ids)
    found = np.array([int(name) if name.isdecimal() else -1 for name in names], dtype=int)
    return np.where(found < len(rows), found, -1)


def _values(name: str, raw: dict[str, "Dataset"], places: dict[str, np.ndarray], examples: int) -> list[Any]:
    values: list[Any] = [None] * examples
    for split, rows in raw.items():
        found = np.flatnonzero(places[split] >= 0)
        if name in rows.column_names and len(found):
            column = rows[name][:]
            for i, place in zip(found.tolist(), places[split][found].tolist(), strict=True):
                values[i] = column[place]
    return values
