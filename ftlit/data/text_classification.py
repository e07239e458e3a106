"""Data of text classification."""

from collections import Counter
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from ftlit.data.rows.cells import is_bracketed, is_label, label_text, written
from ftlit.data.shared.labelled import LabelledData
from ftlit.data.shared.text import TextData
from ftlit.data.sources.formats import describe_value
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


MARKS = (0, 1, "0", "1")  # True and 1.0 are equal to 1


class TextClassificationData(LabelledData, TextData):
    """Texts or pairs of texts with one label each, or with any number of labels.

    Args:
        multi_label: Taken from the model: the label column holds a list of labels, names joined by the separator, or a 0 or 1
            for each of `label_names`.
        separator: Separator of the names of several labels in a csv or tsv column.
    """

    def __init__(self, multi_label: bool = False, separator: str = ",", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multi_label, self.separator = multi_label, separator
        if not separator:
            raise UserError("data.separator is empty; it should be the sign between the names of several labels, such as ','")

    def as_names(self, value: Any) -> list[str]:
        if not self.multi_label:
            return super().as_names(value)
        items = self._items(value)
        if self._multi_hot and len(items) == len(self.label_names) and all(item in MARKS for item in items):
            return [name for name, mark in zip(self.label_names, items, strict=True) if float(mark)]
        return [self.label_name(item) for item in items]

    def _items(self, value: Any) -> list[Any]:
        """What a cell lists: labels by name or number, or a 0 or 1 for each label."""
        if not isinstance(value, str):
            return value
        found = written(value)
        return found if isinstance(found, list) else [name.strip() for name in value.split(self.separator) if name.strip()]

    @cached_property
    def _multi_hot(self) -> bool:
        """Whether every cell of the source has a 0 or 1 for each label; as labels, one of two would stand twice in a row."""
        if not self.multi_label or self._class_names:
            return False
        columns = (rows[self.label] for rows in self.rows.raw.values() if self.label in rows.column_names)
        lengths: set[int] = set()
        for value in chain(*columns):
            if value is not None:
                items = self._items(value) if isinstance(value, str | list) else []
                lengths.add(len(items))
                if len(lengths) > 1 or not all(item in MARKS for item in items):
                    return False
        expected = {len(self.label_names)} if self.given_names else lengths
        return lengths == expected and min(lengths, default=0) > 1

    def validate_label(self, value: Any) -> str | None:
        if not self.multi_label:
            found = super().validate_label(value)
            return found and found.replace(
                "a list, not one label", "a list; set model.multi_label: true for several labels a text"
            )
        if value == "" or value == []:
            return None  # a text may have no label at all
        if not isinstance(value, str | list | None):
            return f"column {self.label!r} holds {describe_value(value)}, not a list of labels, or their names in one text"
        return super().validate_label(value) if value is None else self._list_problem(value)

    def _list_problem(self, value: Any) -> str | None:
        """What is wrong with a cell of several labels, or None."""
        shown = f"column {self.label!r} holds {describe_value(value)}"
        if isinstance(value, str) and is_bracketed(value) and not isinstance(written(value), list):
            return f"{shown}, which is neither a list nor names joined by {self.separator!r}"
        items = self._items(value)
        if self._multi_hot:
            advice = "name the labels in their order with data.label_names"
            return None if self.given_names else f"{shown}, a 0 or 1 for each label; {advice}"
        if wrong := [item for item in items if not is_label(item) or isinstance(item, bool) or _has_fraction(item)]:
            return f"{shown}; a label should be a name or a whole number, got {describe_value(wrong[0])}"
        names = [label_text(item) for item in items]
        if not (twice := next((name for name in names if names.count(name) > 1), None)):
            return None
        marks = "; a row of 0 and 1 needs one for each label, in every row" if all(item in MARKS for item in items) else ""
        return f"{shown}, in which the label {twice!r} stands twice{marks}"

    def classes(self, rows: "Dataset") -> list[Any] | None:
        if not self.multi_label:
            return super().classes(rows)
        names = [self.as_names(value) for value in rows[self.label]]
        # A row is represented by its rarest label, so that rare labels reach all parts.
        counts = Counter(name for row in names for name in row)
        return [min(row, key=lambda name: (counts[name], name), default="") for row in names]

    def augment_train(self, train: "Dataset") -> "Dataset":
        for key in ("label_noise", "rebalance"):
            if self.multi_label and getattr(self, key):
                raise UserError(f"data.{key} needs one label a text; leave it out with model.multi_label: true")
        return super().augment_train(train)

    def reference(self, row: dict[str, Any]) -> Any:
        if not self.multi_label:
            return super().reference(row)
        return [self.label_names[self.label_ids[name]] for name in self.as_names(row[self.label])]

    def encode_label(self, value: Any) -> int | list[int]:
        if not self.multi_label:
            return super().encode_label(value)
        ids = [self.label_ids[name] for name in self.as_names(value)]
        return [int(i in ids) for i in range(len(self.label_names))]


def _has_fraction(value: Any) -> bool:
    return isinstance(value, float) and not value.is_integer()
