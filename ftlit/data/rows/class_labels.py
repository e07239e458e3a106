"""Lists of labels: those of the config, and those of ClassLabel columns, whose numbers refer to a list of each split."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


def check_names(names: Sequence[Any], key: str = "data.label_names") -> None:
    """Check that each label stands once in a list.

    Args:
        names: The labels.
        key: The option that has them.

    Raises:
        UserError: If a label is empty or occurs twice.
    """
    texts = [str(name).strip() for name in names]
    if "" in texts:
        raise UserError(f"{key} has an empty label at place {texts.index('') + 1}")
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise UserError(f"{key} lists {twice!r} twice, got {list(names)}")


def class_names(rows: "Dataset", column: str) -> list[str] | None:
    """Names of a ClassLabel column (or of a column of lists of them); None for other columns."""
    feature: Any = rows.features.get(column)
    return getattr(getattr(feature, "feature", feature), "names", None)


def unify_class_labels(splits: dict[str, "Dataset"], columns: Iterable[str]) -> dict[str, "Dataset"]:
    """The splits with the same meaning of all class labels: numbers become names if their list differs from that of train.

    Args:
        splits: The splits of the source.
        columns: Columns that may hold class labels.
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
