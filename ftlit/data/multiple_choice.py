"""Data of multiple choice."""

from collections import Counter
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.rows.cells import label_text, whole_number
from ftlit.data.rows.columns import as_rows, every_row
from ftlit.data.rows.rows import text_problem
from ftlit.data.shared.base import TaskData

if TYPE_CHECKING:
    from datasets import Dataset

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MultipleChoiceData(TaskData):
    """Questions with two or more choices, one of which is right.

    A row is one example; its ``input_ids`` hold a sequence for each choice.

    Args:
        question: Column of the question, or of the text that the choices continue.
        start: Column of a text with which every choice begins, such as `sent2` of SWAG.
        choices: Column of the choices, as a list of texts or as names and texts (`{label: [A, B], text: [yes, no]}`); or a
            list of columns with one choice each.
        label: Column of the right choice: its position from 0, or its letter. If the choices have names, it is the name, and a
            position is understood only where no choice has a number as its name.
    """

    metadata: ClassVar[tuple[str, ...]] = ("choices",)

    def __init__(
        self,
        question: str = "question",
        start: str | None = None,
        choices: str | list[str] = "choices",
        label: str = "label",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.question, self.start, self.choices, self.label = question, start, choices, label

    def input_columns(self) -> dict[str, str]:
        start = {"start": self.start} if self.start else {}
        if isinstance(self.choices, str):
            return {"question": self.question, **start, "choices": self.choices}
        return {"question": self.question, **start, **{f"choices[{i}]": name for i, name in enumerate(self.choices)}}

    def input_schema(self) -> dict[str, dict[str, Any]]:
        texts: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
        named = {"type": "object", "properties": {"text": texts, "label": texts}, "required": ["text"]}
        cell = {self.choices: {"anyOf": [texts, named]}} if isinstance(self.choices, str) else {}
        return super().input_schema() | cell

    def columns(self) -> dict[str, str]:
        return {**self.input_columns(), "label": self.label}

    # Rows

    def texts(self, row: dict[str, Any]) -> list[Any]:
        """The choices of a row."""
        if isinstance(self.choices, list):
            return [row.get(column) for column in self.choices]
        cell = row.get(self.choices)
        return list((cell.get("text") if isinstance(cell, dict) else cell) or [])

    def choice_names(self, row: dict[str, Any]) -> list[str]:
        """The names of the choices of a row; empty if they have none."""
        cell = row.get(self.choices) if isinstance(self.choices, str) else None
        return [label_text(name) for name in cell.get("label") or []] if isinstance(cell, dict) else []

    def position(self, row: dict[str, Any]) -> int | None:
        """Position of the right choice, counted from 0, or None if the label names no choice."""
        label, count, names = label_text(row[self.label]), len(self.texts(row)), self.choice_names(row)
        for known, asked in ((names, label), ([name.lower() for name in names], label.lower())):
            if known.count(asked) == 1:
                return known.index(asked)
        counted = whole_number(label) if not any(map(str.isdecimal, names)) else None
        letter = LETTERS.find(label.upper()) if len(label) == 1 and not names else -1
        found = letter if counted is None else counted
        return found if 0 <= found < count else None

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        for column in (self.question, *([self.start] if self.start else [])):
            if found := text_problem(row, column):
                return found
        if isinstance(self.choices, str) and (found := _cell_problem(row.get(self.choices), self.choices)):
            return found
        texts = self.texts(row)
        for i, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                return f"choice {i + 1} is {text!r}, not a text"
        shown = f"column {self.choices!r}" if isinstance(self.choices, str) else "data.choices"
        return None if len(texts) > 1 else f"{shown} has {len(texts)} choices; there must be two or more"

    def validate_row(self, row: dict[str, Any]) -> str | None:
        if found := self.validate_inputs(row):
            return found
        if self.position(row) is not None:
            return None
        last = len(self.texts(row)) - 1
        known = f"a position from 0 to {last}, or a letter from A to {LETTERS[min(last, 25)]}"
        if any(map(str.isdecimal, names := self.choice_names(row))):
            known = f"a name, which are {', '.join(names)}"
        return f"column {self.label!r} holds {row[self.label]!r}, which names none of the {last + 1} choices; expected {known}"

    def reference(self, row: dict[str, Any]) -> str:
        position = self.position(row)
        assert position is not None
        return self.texts(row)[position]

    def joined_texts(self, rows: "Dataset") -> list[str]:
        starts = [self.question, *([self.start] if self.start else [])]
        return ["\n".join([*(row[column] for column in starts), *self.texts(row)]) for row in every_row(rows)]

    def majority(self, rows: "Dataset") -> dict[str, Any] | None:
        positions = Counter(self.position(row) for row in every_row(rows))
        [(position, count)] = positions.most_common(1)
        return {"answer": f"choice {(position or 0) + 1}", "share": count / len(rows)}

    # Features

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = as_rows(columns)
        choices = [self.texts(row) for row in rows]
        starts = [f"{row[self.start]} " if self.start else "" for row in rows]
        questions = [row[self.question] for row, texts in zip(rows, choices, strict=True) for _ in texts]
        ends = [start + text for start, texts in zip(starts, choices, strict=True) for text in texts]
        flat = self.tokenize(questions, ends, ("question", "choice"))
        bounds = np.cumsum([0, *map(len, choices)]).tolist()
        spans = list(pairwise(bounds))
        features = {name: [values[a:b] for a, b in spans] for name, values in flat.items()}
        return {**features, "choices": choices, "truncated": [any(cut) for cut in features["truncated"]]}

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**self.encode_inputs(columns), "labels": [self.position(row) for row in as_rows(columns)]}

    def lengths(self, split: str) -> np.ndarray:
        """Number of tokens of each row with padding: its longest choice times the number of choices."""
        import pyarrow.compute as pc

        sequences = self.encoded[split].with_format("arrow")["input_ids"][:]
        counts = pc.list_value_length(sequences).to_numpy()
        tokens = pc.list_value_length(pc.list_flatten(sequences)).to_numpy()
        return counts * np.maximum.reduceat(tokens, np.cumsum(counts) - counts)

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        """The tensors of a batch; the choices of all rows are stacked: ``input_ids`` has shape ``(choices, tokens)``."""
        nested = [name for name in ("input_ids", *self.padding) if name in columns]
        return super().collate({**columns, **{name: list(chain(*columns[name])) for name in nested}}, batch)


def _cell_problem(cell: Any, column: str) -> str | None:
    """What is wrong with the form of a cell of choices, or None; the texts are not checked."""
    texts, names = (cell.get("text"), cell.get("label")) if isinstance(cell, dict) else (cell, None)
    for given, kind in ((texts, "texts"), (names, "names")):
        if not isinstance(given, list | None):
            return f"column {column!r} holds {given!r}, not a list of {kind}"
    if names and len(names) != len(texts or []):
        return f"column {column!r} has {len(names)} names for {len(texts or [])} choices"
    return None
