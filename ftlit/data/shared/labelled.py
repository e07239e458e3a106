"""Data with class labels: their names, ids and balance."""

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftlit.data.rows.cells import is_label, label_text, written
from ftlit.data.rows.class_labels import check_names, class_names
from ftlit.data.rows.columns import every_row
from ftlit.data.rows.label_noise import balanced, noisy_labels
from ftlit.data.rows.splits import without_answers
from ftlit.data.shared.base import TaskData
from ftlit.data.sources.formats import describe_value, lines
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


class LabelledData(TaskData):
    """Rows whose right answer is one of a list of labels.

    Args:
        label_names: The labels in the order of their ids, or a file with one label a line; by default those of train, sorted.
            A label in the data may be a name or its position in this list.
        label_noise: Share of the training rows that get a wrong label, for studies of robustness.
        rebalance: Whether training rows of smaller classes are repeated until all classes have the same size, augmented
            copies included. Not available for several labels a text.
    """

    label: str  # column of the label
    label_key: ClassVar[str] = "label"  # config key that selects the column

    def __init__(
        self,
        label_names: list[str] | str | None = None,
        label_noise: float = 0.0,
        rebalance: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(label_names, list) and (twice := [name for name in label_names if label_names.count(name) > 1]):
            raise UserError(f"data.label_names lists {twice[0]!r} twice, got {label_names}")
        self.given_names, self.label_noise, self.rebalance = label_names, label_noise, rebalance
        if isinstance(label_names, list):
            check_names(label_names)

    @cached_property
    def label_names(self) -> list[str]:
        """The labels in the order of their ids."""
        if isinstance(self.given_names, str):
            path = Path(self.given_names)
            if not path.is_file():
                raise UserError(
                    f"data.label_names {self.given_names!r} is not a file; expected a list, or a file with one label per line"
                )
            names = [line.strip() for _, line in lines(path) if line.strip()]
            check_names(names, f"data.label_names {self.given_names!r}")
            return names
        if self.given_names:
            return [label_text(name) for name in self.given_names]
        if "train" not in self.rows.source:
            raise UserError(f"data.dataset {self.dataset!r} has no train split to take the labels from; set data.label_names")
        if self._class_names:
            return self._class_names
        found = {name for value in self.rows.source["train"][self.label][:] for name in self.as_names(value)}
        return sorted(found, key=_natural)

    @cached_property
    def _class_names(self) -> list[str] | None:
        """The names of a ClassLabel column, whose values are positions in this list."""
        return class_names(self.rows.raw["train" if "train" in self.rows.raw else next(iter(self.rows.raw))], self.label)

    def label_name(self, value: Any) -> str:
        """The name of a label; in a ClassLabel column, the name at its position."""
        names = self._names_at_positions
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else label_text(value)

    @cached_property
    def _names_at_positions(self) -> list[str]:
        """The names of a ClassLabel column; empty if the config has other names, to which the positions then refer."""
        names = self._class_names or []
        return names if not names or set(names) <= set(self.label_names) else []

    def as_names(self, value: Any) -> list[str]:
        """The names of the labels in a cell."""
        return [self.label_name(value)]

    @cached_property
    def label_ids(self) -> dict[str, int]:
        """Id of each label by its name, and also by its position if the config has names that are not numbers."""
        ids = {name: i for i, name in enumerate(self.label_names)}
        if self.given_names and not any(name.isdecimal() for name in self.label_names):
            ids |= {str(i): i for i in range(len(self.label_names))}
        return ids

    @cached_property
    def label_counts(self) -> list[int]:
        """Number of training rows with each label, followed by the number of all rows."""
        if "train" not in self.rows:
            return []
        values = self.rows["train"][self.label][:]
        counts = Counter(self.label_ids[name] for value in values for name in self.as_names(value))
        return [counts[i] for i in range(len(self.label_names))] + [len(values)]

    def validate_label(self, value: Any) -> str | None:
        """What is wrong with a label, or None."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"the label in column {self.label!r} is null"
        if value != value:
            return f"the label in column {self.label!r} is not a number"
        given = written(value) if isinstance(value, str) else value
        if isinstance(given, list):
            return f"column {self.label!r} holds a list, not one label"
        if isinstance(given, dict) or not is_label(value):
            return f"column {self.label!r} holds {describe_value(value)}, not a label; it should be a name or a number"
        return None

    def classes(self, rows: "Dataset") -> list[Any] | None:
        return [name for value in rows[self.label][:] for name in self.as_names(value)]

    def balance(self, rows: "Dataset") -> dict[str, int] | None:
        counts = Counter(self.label_ids[name] for value in rows[self.label][:] for name in self.as_names(value))
        return {self.label_names[i]: count for i, count in counts.most_common()}

    def majority(self, rows: "Dataset") -> dict[str, Any] | None:
        counts = Counter(tuple(sorted({self.label_ids[name] for name in self.as_names(v)})) for v in rows[self.label][:])
        [(ids, count)] = counts.most_common(1)
        names = [self.label_names[i] for i in ids]
        return {"answer": names[0] if len(names) == 1 else names, "share": count / len(rows)}

    def with_named_answers(self, rows: "Dataset") -> "Dataset":
        return rows.remove_columns(self.label).add_column(self.label, [self.reference(row) for row in every_row(rows)])

    def augment_train(self, train: "Dataset") -> "Dataset":
        if self.label_noise:
            train = self._with_noise(train)
        train = super().augment_train(train)  # before rows are repeated, because augmented copies need different ids
        if self.rebalance:
            chosen = balanced(self.classes(train) or [], self.seed)
            self.modification_counts["rows repeated to balance the classes"] = len(chosen) - len(train)
            train = train.select(chosen)
        return train

    def _with_noise(self, train: "Dataset") -> "Dataset":
        ids = [self.label_ids[self.label_name(value)] for value in train[self.label][:]]
        noisy = noisy_labels(ids, self.label_names, self.label_noise, self.seed)
        self.modification_counts["labels made wrong"] = sum(a != b for a, b in zip(ids, noisy, strict=True))
        names = [self.label_names[int(i)] for i in noisy]
        return train.remove_columns(self.label).add_column(self.label, names)

    def reference(self, row: dict[str, Any]) -> Any:
        return self.label_names[self.encode_label(row[self.label])]

    def check_splits(self, splits: dict[str, "Dataset"]) -> None:
        for split, rows in splits.items():
            seen: set[int] = set()
            for row_id, value in zip(rows["row_id"][:], rows[self.label][:], strict=True):
                names = self.as_names(value)
                if unknown := [name for name in names if name not in self.label_ids]:
                    raise self._unknown(unknown[0], row_id, split, rows)
                ids = [self.label_ids[name] for name in names]
                if len(set(ids)) < len(ids):
                    twice, place = self.label_names[max(ids, key=ids.count)], self.rows.place_of(row_id)
                    raise UserError(
                        f"{self.dataset}: {place}: label {twice!r} stands twice, once by its name, once by its number"
                    )
                seen.update(ids)
            if len(seen) < 2 and not (self.replay and split == "test"):  # new rows may all be of a new label
                only = f"the label {self.label_names[next(iter(seen))]!r}" if seen else "no label"
                raise UserError(
                    f"{self.dataset}: {split} has {only} alone in its {len(rows)} rows; "
                    f"a classifier needs two or more in every split (check data.{self.label_key} and the limits)"
                )

    def _unknown(self, name: str, row_id: str, split: str, rows: "Dataset") -> UserError:
        known = ", ".join(self.label_names[:20])
        where = "in data.label_names" if self.given_names else "seen in train"
        none_known = not any(name in self.label_ids for value in rows[self.label][:] for name in self.as_names(value))
        advice = without_answers(split) if none_known else ""
        place = f"{self.dataset}: {self.rows.place_of(row_id)}"
        return UserError(f"{place}: label {name!r} is never {where}; the labels are {known}. {advice}".removesuffix(". "))

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**self.encode_inputs(columns), "labels": [self.encode_label(value) for value in columns[self.label]]}

    def encode_label(self, value: Any) -> Any:
        """The training target of a cell: the id of its label."""
        return self.label_ids[self.label_name(value)]


def _natural(name: str) -> tuple[float, str]:
    return (float(name), name) if re.fullmatch(r"-?[0-9]+", name) else (float("inf"), name)
