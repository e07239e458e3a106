"""Data of relation extraction."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.rows.rows import text_problem
from ftlit.data.shared.labelled import LabelledData
from ftlit.data.text.encoding import require_offsets
from ftlit.models.embeddings import add_tokens

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

ENTITY_MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")


class RelationExtractionData(LabelledData):
    """Texts with two entities and the relation between them.

    Args:
        text: Column of the text.
        head: Column of the first entity: its `start` and `end` in characters of the text.
        tail: Column of the second entity.
        relation: Column of the relation.
    """

    metadata = ("reference",)
    label_key: ClassVar[str] = "relation"

    def __init__(
        self, text: str = "text", head: str = "head", tail: str = "tail", relation: str = "relation", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.text, self.head, self.tail, self.label = text, head, tail, relation

    def input_columns(self) -> dict[str, str]:
        return {"text": self.text, "head": self.head, "tail": self.tail}

    def input_schema(self) -> dict[str, dict[str, Any]]:
        places = {name: {"type": "integer", "minimum": 0} for name in ("start", "end")}
        entity = {"type": "object", "properties": places, "required": list(places)}
        return super().input_schema() | {self.head: entity, self.tail: entity}

    def columns(self) -> dict[str, str]:
        return {**self.input_columns(), "relation": self.label}

    # Checks

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        if found := text_problem(row, self.text):
            return found
        text = row[self.text]
        if marker := next((marker for marker in ENTITY_MARKERS if marker in text), None):
            return f"the text in column {self.text!r} holds {marker!r}, which marks entities; write it in another way"
        for column in (self.head, self.tail):
            if found := span_problem(text, row.get(column), column):
                return found
        head, tail = row[self.head], row[self.tail]
        if head["start"] < tail["end"] and tail["start"] < head["end"]:
            return f"the entities overlap: {self.head!r} is {_place(head)} and {self.tail!r} {_place(tail)}"
        return self._distance_problem(marked(text, head, tail))

    def _distance_problem(self, text: str) -> str | None:
        between = text[
            min(map(text.index, ENTITY_MARKERS)) : max(text.index(marker) + len(marker) for marker in ENTITY_MARKERS)
        ]
        if len(between.encode()) <= self._room:  # no token is shorter than a byte
            return None
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        marks = [ids.index(i) for i in self.marker_ids]
        if (needed := max(marks) - min(marks) + 1) <= self._room:
            return None
        return (
            f"the entities and what lies between them have {needed} tokens, but {self._room} fit into "
            f"data.max_length {self.max_length}; raise it"
        )

    def validate_row(self, row: dict[str, Any]) -> str | None:
        return self.validate_inputs(row) or self.validate_label(row[self.label])

    # Markers

    @cached_property
    def _with_markers(self) -> tuple["PreTrainedTokenizerBase", list[int]]:
        tokenizer = super().tokenizer
        return tokenizer, add_tokens(tokenizer, ENTITY_MARKERS)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer with the entity markers as additional tokens."""
        return self._with_markers[0]

    @property
    def added_tokens(self) -> list[int]:
        """Ids of the markers that are new to the backbone."""
        return self._with_markers[1]

    @cached_property
    def marker_ids(self) -> list[int]:
        """Ids of all markers."""
        return self.tokenizer.convert_tokens_to_ids(list(ENTITY_MARKERS))  # type: ignore[return-value]

    @cached_property
    def _room(self) -> int:
        return self.max_length - self.tokenizer.num_special_tokens_to_add()

    # Features

    def joined_texts(self, rows: "Dataset") -> list[str]:
        columns = [rows[column] for column in self.input_columns().values()]
        return [marked(*cells) for cells in zip(*columns, strict=True)]

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        require_offsets(self.tokenizer, self.backbone, type(self).__name__)
        cells = zip(*(columns[column] for column in self.input_columns().values()), strict=True)
        encoding = self.tokenizer([marked(*row) for row in cells], truncation=False, return_attention_mask=False)
        features = dict(encoding)
        ids = features["input_ids"]
        self.encoder.count("text", ids, "max_length", self.tokenizer.num_special_tokens_to_add())
        long = [i for i, row in enumerate(ids) if len(row) > self.max_length]
        kept = {i: self._window(encoding.sequence_ids(i), [ids[i].index(mark) for mark in self.marker_ids]) for i in long}
        for values in features.values():
            for i in long:
                values[i] = [values[i][k] for k in kept[i]]
        starts = (self.marker_ids[0], self.marker_ids[2])
        positions = [[row.index(mark) for mark in starts] for row in ids]
        return {**features, "entity_positions": positions, "truncated": [i in kept for i in range(len(ids))]}

    def _window(self, parts: list[int | None], marks: list[int]) -> list[int]:
        """Positions of the special tokens at both ends, and of as much text around the markers as fits.

        Args:
            parts: None for each special token, an index for the other tokens.
            marks: Positions of the markers.
        """
        text = [k for k, part in enumerate(parts) if part is not None]
        spare = self._room - (max(marks) - min(marks) + 1)
        start = min(max(text[0], min(marks) - spare // 2), text[-1] + 1 - self._room)
        return [k for k, part in enumerate(parts) if part is None or start <= k < start + self._room]

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        features = super().encode(columns)
        return {**features, "reference": [self.label_names[i] for i in features["labels"]]}

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        """The tensors of a batch, with ``entity_positions``: the positions of both start markers, ``(batch, 2)``."""
        return {**super().collate(columns, batch), "entity_positions": torch.tensor(columns["entity_positions"])}


def marked(text: str, head: dict[str, Any], tail: dict[str, Any]) -> str:
    """The text with markers around both entities.

    A start marker is put before the space in front of its entity, so that the entity has the same tokens as in the plain
    text: in many vocabularies a space is part of the word that follows.
    """
    entities = sorted([(head["start"], head["end"], *ENTITY_MARKERS[:2]), (tail["start"], tail["end"], *ENTITY_MARKERS[2:])])
    parts, done = [], 0
    for start, end, opening, closing in entities:
        before = text[done:start].rstrip()
        parts += [before, opening, text[done + len(before) : end], closing]
        done = end
    return "".join([*parts, text[done:]])


def span_problem(text: str, span: Any, column: str) -> str | None:
    """What is wrong with an entity of a text, or None."""
    if not isinstance(span, dict) or not all(type(span.get(key)) is int for key in ("start", "end")):
        return f"column {column!r} holds {span!r}, not an entity with the whole numbers 'start' and 'end'"
    start, end = span["start"], span["end"]
    if start < 0 or end > len(text):
        return f"the entity in column {column!r} is {_place(span)}, outside the text of {len(text)} characters"
    if not text[start:end].strip():
        return f"the entity in column {column!r} is empty: {_place(span)}"
    if span.get("text") not in (None, text[start:end]):
        return f"the entity in column {column!r} is {span['text']!r}, but the text {_place(span)} is {text[start:end]!r}"
    return None


def _place(span: dict[str, Any]) -> str:
    return f"at characters {span['start']} to {span['end']}"
