"""Data of token classification: named entities, chunks, parts of speech."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftlit.data.batches.collate import PADDING
from ftlit.data.rows.class_labels import check_names, class_names
from ftlit.data.rows.columns import as_rows, every_row
from ftlit.data.rows.rows import text_problem
from ftlit.data.shared.base import TaskData
from ftlit.data.sources.conll import conll_rows
from ftlit.data.sources.formats import Reader
from ftlit.data.text.tags import entities_problem, entity_spans, named, tags_problem, tokens_problem, with_types
from ftlit.data.text.word_encoder import WordEncoder
from ftlit.errors import UserError
from ftlit.metrics.entities import located_entities, located_words
from ftlit.metrics.spans import Scheme, check_tags, iob2_tags, to_iob2
from ftlit.util.batch import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

OUTSIDE_TAG = "O"


class TokenClassificationData(TaskData):
    """Words with one tag each, or texts with entities.

    Local `.txt` files are read as CoNLL columns, like `.conll`, `.iob` and `.bio`: the first column is `tokens`, the last is
    `tags`, and all columns are `column1`, `column2`, … Internally all tags are converted to IOB2.
    A text longer than `max_length` is cut into overlapping windows of whole words. Each word is labelled, counted in the loss
    and predicted in one window only, the one in which it has most context.

    Args:
        tokens: Column of the words, a list. Character offsets refer to the words joined by spaces. A new row may hold a text.
        tags: Column of the tags, a list of the same length: names, or indices into the names of the source or `label_names`.
        text: Column of the text, if `entities` is given.
        entities: Column of the entities, lists of {start, end, label} in characters, for data without words and tags. Words
            end at white space and punctuation marks; an entity that begins or ends inside a word is widened to the word.
        scheme: Tagging scheme of the data. Tags may be a prefix alone, such as B and I, if all spans are of one kind.
        spans: Taken from the model: whether tags mark spans of words, as in named entities and chunks.
        label_names: The tags of the data in the order of their indices; by default those of the source, or of train.
        align: Whether only the first subword of a word has the label, or all; predictions come from the first.
        stride: Number of tokens that two windows of a long text share; by default a quarter of `max_length`.
    """

    readers: Mapping[str, Reader] = {".txt": conll_rows}
    padding: ClassVar[dict[str, int]] = {**PADDING, "labels": IGNORED}
    metadata: ClassVar[tuple[str, ...]] = ("starts", "offsets", "piece", "reference")

    def __init__(
        self,
        tokens: str = "tokens",
        tags: str = "tags",
        text: str = "text",
        entities: str | None = None,
        scheme: Scheme = "IOB2",
        spans: bool = True,
        label_names: list[str] | None = None,
        align: Literal["first", "all"] = "first",
        stride: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokens, self.tags, self.text, self.entities = tokens, tags, text, entities
        self.scheme: Scheme = scheme
        self.spans, self.given_names, self.align = spans, label_names, align
        self.stride = self.max_length // 4 if stride is None else stride
        check_names(label_names or [])
        if entities and not spans:
            raise UserError(f"data.entities {entities!r} marks spans, and model.spans is false; leave one of them out")

    # Rows

    @property
    def _given(self) -> str:
        """Column of the words or of the text."""
        return self.text if self.entities else self.tokens

    def input_columns(self) -> dict[str, str]:
        return {"text" if self.entities else "tokens": self._given}

    def columns(self) -> dict[str, str]:
        return {**self.input_columns(), **({"entities": self.entities} if self.entities else {"tags": self.tags})}

    def input_schema(self) -> dict[str, dict[str, Any]]:
        words: dict[str, Any] = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}
        return super().input_schema() if self.entities else {self.tokens: words}

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        value = row.get(self._given)
        if isinstance(value, list) and not self.entities:
            return tokens_problem(value, self.tokens)
        return text_problem(row, self._given)

    def validate_row(self, row: dict[str, Any]) -> str | None:
        if found := self.validate_inputs(row):
            return found
        value = row[self._given]
        if self.entities:
            return entities_problem(row[self.entities], value, self.entities)
        if isinstance(value, str):
            return f"column {self.tokens!r} holds a text, not a list of words; for texts with entities set data.entities"
        scheme = self.scheme if self.spans else None
        return tags_problem(row[self.tags], len(value), self._tag_names, scheme, self.tags)

    def joined_texts(self, rows: "Dataset") -> list[str]:
        return [located_words(value)[0] for value in rows[self._given]]

    # Labels

    @cached_property
    def _tag_names(self) -> list[str] | None:
        """Names of tags that are given as indices, from the config or from the source."""
        if self.given_names or self.entities:
            return self.given_names
        for rows in self.rows.raw.values():
            if names := class_names(rows, self.tags):
                return names
        return None

    @cached_property
    def label_names(self) -> list[str]:
        """The labels in the order of their ids: O first, then the others sorted, with B and I for each type of span."""
        if given := self._tag_names:
            return self._labels_of(given, "data.label_names" if self.given_names else f"column {self.tags!r}")
        if "train" not in self.rows.source:
            raise UserError(f"data.dataset {self.dataset!r} has no train split to take the tags from; set data.label_names")
        found = {tag for row in self.rows.source["train"] for tag in self.answer(row)}
        return _spanned(found) if self.spans else sorted(found, key=lambda tag: (tag != OUTSIDE_TAG, tag))

    def _labels_of(self, tags: list[str], place: str) -> list[str]:
        if not self.spans:
            return tags
        for tag in (tags := with_types(tags)):
            if check_tags([tag], self.scheme):
                raise UserError(f"{place} has the tag {tag!r}, which does not belong to data.scheme {self.scheme}")
        return _spanned(set(tags))

    @cached_property
    def label_ids(self) -> dict[str, int]:
        """Id of each label."""
        return {name: i for i, name in enumerate(self.label_names)}

    @cached_property
    def label_counts(self) -> list[int]:
        """Number of training words with each label, followed by the number of all words."""
        if "train" not in self.rows:
            return []
        counts = Counter(tag for row in every_row(self.rows["train"]) for tag in self.answer(row))
        return [*(counts[name] for name in self.label_names), counts.total()]

    def answer(self, row: dict[str, Any]) -> list[str]:
        """The right label of each word of a row; it may be missing in `label_names`."""
        return self._answer(row)[0]

    def _answer(self, row: dict[str, Any]) -> tuple[list[str], int]:
        """The labels, and the number of entities that were widened to whole words."""
        if self.entities:
            text, offsets = located_words(row[self.text])
            spans, moved = entity_spans(row[self.entities], text, offsets)
            return iob2_tags(spans, len(offsets)), moved
        tags = named(row[self.tags], self._tag_names)
        return (to_iob2(with_types(tags), self.scheme) if self.spans else tags), 0

    def with_named_answers(self, rows: "Dataset") -> "Dataset":
        if self.entities:
            return rows
        tags = [named(row[self.tags], self._tag_names) for row in every_row(rows)]
        return rows.remove_columns(self.tags).add_column(self.tags, tags)

    def reference(self, row: dict[str, Any]) -> Any:
        if not self.spans:
            return self.answer(row)
        text, offsets = located_words(row[self._given])
        return located_entities(self.answer(row), offsets, text)

    def _kinds(self, rows: "Dataset") -> list[set[str]]:
        """The entity types or tags of each row."""
        return [{tag.partition("-")[2] if self.spans else tag for tag in self.answer(row)} - {""} for row in every_row(rows)]

    def classes(self, rows: "Dataset") -> list[Any] | None:
        kinds = self._kinds(rows)
        # A row is represented by its rarest kind, so that rare kinds reach all parts.
        counts = Counter(kind for row in kinds for kind in row)
        return [min(row, key=lambda kind: (counts[kind], kind), default="") for row in kinds]

    def balance(self, rows: "Dataset") -> dict[str, int] | None:
        return dict(Counter(kind for row in self._kinds(rows) for kind in sorted(row)).most_common())

    def majority(self, rows: "Dataset") -> dict[str, Any] | None:
        if self.spans:
            return None  # a text without spans is right about none
        counts = Counter(tag for row in every_row(rows) for tag in self.answer(row))
        [(tag, count)] = counts.most_common(1)
        return {"answer": tag, "share": count / counts.total()}

    def check_splits(self, splits: dict[str, "Dataset"]) -> None:
        if len(self.label_names) < 2:
            raise UserError(f"{self.dataset} has no tag but {', '.join(self.label_names)}; check data.{self._answer_key}")
        for rows in splits.values():
            for row in every_row(rows):
                for tag in self.answer(row):
                    if tag not in self.label_ids:
                        where = "in data.label_names" if self.given_names else "seen in train"
                        raise UserError(
                            f"{self.dataset}: {self.rows.place_of(row['row_id'])}: tag {tag!r} is never {where}; "
                            f"the tags are {', '.join(self.label_names[:20])}"
                        )

    @property
    def _answer_key(self) -> str:
        return list(self.columns())[-1]

    # Features

    def encoding_state(self) -> list[Any]:
        return [self._tag_names]

    @cached_property
    def _encoder(self) -> WordEncoder:
        def count(texts: Iterable[list[int]], special: int) -> None:
            self.encoder.count("text", texts, "max_length", special)

        return WordEncoder(self.tokenizer, self.max_length, self.stride, count)

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        features: dict[str, list[Any]] = defaultdict(list)
        for feature in self._encoder.features([located_words(value) for value in columns[self._given]]):
            for name, value in feature.items():
                features[name].append(value)
        return dict(features)

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        features = self.encode_inputs(columns)
        answers = [self._answer(row) for row in as_rows(columns)]
        # Windows come in order, and each word belongs to one window.
        left = [iter(tags) for tags, _ in answers]
        features["reference"] = [
            list(islice(left[row], len(starts))) for row, starts in zip(features["row"], features["starts"], strict=True)
        ]
        features["labels"] = list(map(self._labels, *(features[n] for n in ("input_ids", "starts", "widths", "reference"))))
        features["loss_weights"] = [sum(label != IGNORED for label in labels) for labels in features["labels"]]
        first = [i == 0 or row != features["row"][i - 1] for i, row in enumerate(features["row"])]
        features["moved"] = [answers[row][1] * new for row, new in zip(features["row"], first, strict=True)]
        return features

    def _labels(self, ids: list[int], starts: list[int], widths: list[int], tags: list[str]) -> list[int]:
        """The label of each token of a window."""
        labels = [IGNORED] * len(ids)
        for start, width, tag in zip(starts, widths, tags, strict=True):
            labels[start] = self.label_ids[tag]
            if self.align == "all":
                follows = f"I-{tag[2:]}" if self.spans and tag.startswith("B-") else tag
                labels[start + 1 : start + width] = [self.label_ids[follows]] * (width - 1)
        return labels

    def counts(self, split: str) -> dict[str, int]:
        encoded = self.encoded[split]
        found = {"words": sum(map(len, encoded["starts"]))}
        if self.spans:
            found["entities"] = sum(tag.startswith("B-") for tags in encoded["reference"] for tag in tags)
        lost = {"words cut at data.max_length": sum(encoded["cut"]), "entities widened to words": sum(encoded["moved"])}
        return {**super().counts(split), **found, **{name: count for name, count in lost.items() if count}}


def _spanned(tags: set[str]) -> list[str]:
    types = {tag.partition("-")[2] for tag in tags if tag != OUTSIDE_TAG}
    return [OUTSIDE_TAG, *sorted(f"{prefix}-{name}" for name in types for prefix in "BI")]
