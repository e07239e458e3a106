"""Data of text classification."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from ftlit.data.shared.labelled import LabelledData
from ftlit.data.shared.text import TextData
from ftlit.data.sources.formats import describe_value
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


class TextClassificationData(LabelledData, TextData):
    """Texts or pairs of texts with one label each, or with any number of labels.

    Args:
        multi_label: Taken from the model: the label column holds a list of labels, or names joined by the separator.
        separator: Separator of the names of several labels in a csv or tsv column.
    """

    def __init__(self, multi_label: bool = False, separator: str = ",", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multi_label, self.separator = multi_label, separator

    def as_names(self, value: Any) -> list[str]:
        if not self.multi_label:
            return super().as_names(value)
        if isinstance(value, str):
            return [name.strip() for name in value.split(self.separator) if name.strip()]
        return [self.label_name(name) for name in value]

    def validate_label(self, value: Any) -> str | None:
        if self.multi_label and (value == "" or isinstance(value, list)):
            return None  # a text may have no label at all
        if self.multi_label and not isinstance(value, str | None):
            return f"column {self.label!r} holds {describe_value(value)}, not a list of labels, or their names in one text"
        if isinstance(value, list):
            return f"column {self.label!r} holds a list; set model.multi_label: true for several labels a text"
        return super().validate_label(value)

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
