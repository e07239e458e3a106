"""Where the tokens of rows come from: their columns and characters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import require_offsets
from ftlit.errors import UserError
from ftlit.insight.explain.words import Place, Words, words_of

if TYPE_CHECKING:
    from transformers import BatchEncoding


@dataclass(frozen=True)
class Part:
    """A text that a tokenizer is given, which holds the text of a column.

    Args:
        text: The text.
        columns: The columns in it, with their first and last characters; what lies between belongs to no column.
    """

    text: str
    columns: tuple[tuple[str, int, int], ...]

    def place(self, start: int, end: int) -> Place:
        """Return the place of a token in its column, by the characters of this text."""
        for column, first, last in self.columns:
            if end > first and start < last:
                return column, max(start - first, 0), min(end, last) - first
        return None


def part(column: str, text: str, before: str = "") -> Part:
    """Return the text of a column, behind another text that belongs to no column."""
    return Part(before + text, ((column, len(before), len(before) + len(text)),))


def tokenized(data: TaskData, parts: Sequence[Part], **options: Any) -> "BatchEncoding":
    """Tokenize a text or a pair as the data do, with the characters of each token."""
    require_offsets(data.tokenizer, data.backbone, "explain")
    return data.tokenizer(*([part.text] for part in parts), return_offsets_mapping=True, **options)


def places_of(found: "BatchEncoding", parts: Sequence[Part], i: int = 0) -> list[Place]:
    """Return the places of the tokens of one encoded sequence."""
    sequences = found.sequence_ids(i)
    offsets = found["offset_mapping"][i]
    return [
        None if which is None else parts[which].place(*characters) for which, characters in zip(sequences, offsets, strict=True)
    ]


def words_in(data: TaskData, parts: Sequence[Part], texts: Mapping[str, str], ids: list[int], **options: Any) -> Words:
    """Return the words of a row's tokens.

    Args:
        data: The data of the run.
        parts: The texts that are tokenized, one or two.
        texts: The texts of the columns in them.
        ids: The tokens that the model reads.
        options: Options of the tokenizer; by default long texts are cut as in training.
    """
    found = tokenized(data, parts, **(options or {"truncation": True, "max_length": data.max_length}))
    check_same(data, found["input_ids"][0], ids)
    return words_of(texts, places_of(found, parts))


def row_words(data: TaskData, row: Mapping[str, Any], ids: list[int]) -> Words:
    """Return the words of a row whose columns are the texts that are tokenized, one or two."""
    texts = {column: row[column] for column in data.input_columns().values()}
    return words_in(data, [part(*item) for item in texts.items()], texts, ids)


def check_same(data: TaskData, found: Sequence[int], ids: Sequence[int]) -> None:
    """Check that a text has the tokens that the model reads.

    Raises:
        UserError: It has not, since the data encode it in a way of their own.
    """
    if list(found) != list(ids):
        raise UserError(
            f"explain does not know which characters the tokens of {type(data).__name__} come from: it has rows encoded in a "
            "way of its own; explain takes runs whose data are those of ftlit"
        )
