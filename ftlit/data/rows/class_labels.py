"""Columns of class labels of `datasets`: numbers that stand for names, of which every split has a list of its own."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset


def class_names(rows: "Dataset", column: str) -> list[str] | None:
    """The names of a column of class labels, or of lists of them; None of another."""
    feature: Any = rows.features.get(column)
    return getattr(getattr(feature, "feature", feature), "names", None)


def unify_class_labels(splits: dict[str, "Dataset"], columns: Iterable[str]) -> dict[str, "Dataset"]:
    """The splits, in which a number of class labels means the same: where a list is another than that of train, names stand.

    Args:
        splits: The splits as they come.
        columns: Those that may hold class labels.
    """
    for column in columns:
        lists = {split: class_names(rows, column) for split, rows in splits.items()}
        first = lists.get("train", next(iter(lists.values()), None))
        splits = {
            split: _named(rows, column, names) if (names := lists[split]) and names != first else rows
            for split, rows in splits.items()
        }
    return splits


def _named(rows: "Dataset", column: str, names: list[str]) -> "Dataset":
    def name(value: Any) -> Any:
        if isinstance(value, list):
            return [name(one) for one in value]
        if value is None:
            return None
        return names[value] if 0 <= value < len(names) else str(value)

    values = [name(value) for value in rows[column]]
    return rows.remove_columns(column).add_column(column, values)
