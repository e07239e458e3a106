"""Data of extractive question answering: a question, and a context that holds its answer."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.batches.collate import PADDING
from ftlit.data.rows.columns import as_rows
from ftlit.data.shared.base import TaskData
from ftlit.data.sources.formats import Reader
from ftlit.data.sources.squad_json import IMPOSSIBLE, impossible_problem, squad_rows
from ftlit.data.text.answers import (
    Answer,
    answer_problem,
    answers_of,
    character_span,
    is_moved,
    text_problem_of,
    token_span,
)
from ftlit.data.text.encoding import require_offsets
from ftlit.data.text.offsets import SAMPLE, check_offsets
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

# What is counted of the first answers, by the column of the features that tells it.
OFF_PLACE = {
    "moved": "answers found near their start and not at it",
    "absent": "answers that do not occur in their context",
}
NO_OFFSET = -1  # offset of a token that is not part of the context


class QuestionAnsweringData(TaskData):
    """Questions with answers that are spans of a context, in the layout of SQuAD or as rows.

    A context that is too long is cut into overlapping windows, each of which becomes an example.

    Args:
        question: Column of the question.
        context: Column of the text that holds the answer.
        answers: Column of the right answers: texts with their starts as in SQuAD, or one text. Only the first answer is
            trained on. Where its text is not found at its start, the nearest place counts; validation and test need only
            the texts.
        answer_start: Column of the character at which the answer begins, if the column of answers holds one text; by default
            the first occurrence of the text.
        stride: Number of tokens of the context that a window shares with the one before it.
        negative_windows: Whether a window that does not contain the whole answer is trained to predict no answer; otherwise
            it is left out of train.
        no_answer: Whether questions may have no answer, as in SQuAD 2.0; by default whether some row has none.
    """

    readers: Mapping[str, Reader] = {".json": squad_rows}
    padding: ClassVar[dict[str, int]] = {**PADDING, "starts": NO_OFFSET, "ends": NO_OFFSET}
    metadata: ClassVar[tuple[str, ...]] = ("context", "reference")
    default_max_length: ClassVar[int] = 384

    def __init__(
        self,
        question: str = "question",
        context: str = "context",
        answers: str = "answers",
        answer_start: str | None = None,
        stride: int = 128,
        negative_windows: bool = True,
        no_answer: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.question, self.context, self.answers, self.answer_start = question, context, answers, answer_start
        self.stride, self.negative_windows, self.given_no_answer = stride, negative_windows, no_answer
        if not 0 <= stride < self.max_length:
            raise UserError(f"data.stride is {stride}; it should be at least 0 and below data.max_length {self.max_length}")
        self._found: dict[str, dict[str, int]] = {}

    def input_columns(self) -> dict[str, str]:
        return {"question": self.question, "context": self.context}

    def columns(self) -> dict[str, str]:
        start = {"answer_start": self.answer_start} if self.answer_start else {}
        return {**self.input_columns(), "answers": self.answers, **start}

    # Rows

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        return super().validate_inputs(row) or self._length_problem(row[self.question])

    def _length_problem(self, question: str) -> str | None:
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        if len(question.encode()) + 1 < room - self.stride:  # at most one token a byte, and one for the beginning
            return None
        tokens = len(self.tokenizer(question, add_special_tokens=False)["input_ids"])
        if tokens < room - self.stride:
            return None
        return (
            f"the question has {tokens} tokens, which leaves {max(room - tokens, 0)} of data.max_length {self.max_length} for "
            f"the context; a window needs more than data.stride {self.stride}"
        )

    def validate_row(self, row: dict[str, Any]) -> str | None:
        return self.validate_inputs(row) or self._answers_problem(row, lambda answer: answer_problem(answer, row[self.context]))

    def validate_held_out_row(self, row: dict[str, Any]) -> str | None:
        return self.validate_inputs(row) or self._answers_problem(row, text_problem_of)

    def _answers_problem(self, row: dict[str, Any], problem: Callable[[Answer], str | None]) -> str | None:
        try:
            answers = self._answers(row)
        except ValueError:
            return f"column {self.answers!r} holds {row[self.answers]!r}; it should be a text, or texts with their answer_start"
        if not answers and self.given_no_answer is False:
            return "the question has no answer, and data.no_answer is false"
        return next((found for answer in answers if (found := problem(answer))), None)

    def prepare_splits(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        for split, rows in splits.items():
            if {IMPOSSIBLE, self.answers} <= set(rows.column_names):
                marks = zip(rows[IMPOSSIBLE][:], rows[self.answers][:], strict=True)
                for number, (impossible, answers) in enumerate(marks, start=1):
                    if found := impossible_problem(impossible, answers):
                        raise UserError(f"{self.dataset}: {split} row {number}: {found}")
        return super().prepare_splits(splits)

    def _answers(self, row: dict[str, Any]) -> list[Answer]:
        return answers_of(row[self.answers], row[self.answer_start] if self.answer_start else None)

    def reference(self, row: dict[str, Any]) -> list[str]:
        return list(dict.fromkeys(text for text, _ in self._answers(row)))

    @cached_property
    def no_answer(self) -> bool:
        """Whether questions may have no answer."""
        if self.given_no_answer is not None:
            return self.given_no_answer
        return any(not answers_of(value) for rows in self.rows.source.values() for value in rows[self.answers][:])

    def majority(self, rows: "Dataset") -> dict[str, Any] | None:
        without = sum(not answers_of(value) for value in rows[self.answers][:])
        return {"answer": "no answer", "share": without / len(rows)} if without else None

    # Windows

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Windows of new rows; ``starts`` and ``ends`` are the character offsets of each token in the context."""
        require_offsets(self.tokenizer, self.backbone, type(self).__name__)
        cut = self.tokenizer(
            columns[self.question],
            columns[self.context],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        rows = cut["overflow_to_sample_mapping"]
        places = [context_places(offsets, cut.sequence_ids(i)) for i, offsets in enumerate(cut["offset_mapping"])]
        if self.encoder.counting:
            self._count(cut, places)
        return {
            **{name: cut[name] for name in ("input_ids", *PADDING) if name in cut},
            "starts": [place[:, 0] for place in places],
            "ends": [place[:, 1] for place in places],
            "context": [columns[self.context][i] for i in rows],
            "truncated": [False] * len(rows),  # the windows together cover the whole context
            "row": rows,
        }

    def _count(self, cut: Any, places: list[np.ndarray]) -> None:
        """Count the tokens of questions and contexts from their windows, each of which repeats some of the one before it."""
        questions: list[list[int]] = []
        framed: list[list[int]] = []  # questions with the special tokens
        contexts: list[list[int]] = []
        rows = cut["overflow_to_sample_mapping"]
        for i, (window, place) in enumerate(zip(cut["input_ids"], places, strict=True)):
            ids, sequences = np.array(window), np.array(cut.sequence_ids(i), dtype=float)
            context = ids[place[:, 0] != NO_OFFSET].tolist()
            if i and rows[i] == rows[i - 1]:
                contexts[-1] += context[self.stride :]
            else:
                questions.append(ids[sequences == 0].tolist())
                framed.append(ids[place[:, 0] == NO_OFFSET].tolist())
                contexts.append(context)
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        whole = ([*ids, *context] for ids, context in zip(framed, contexts, strict=True))
        self.encoder.count("question", questions)
        self.encoder.count("context", contexts)
        self.encoder.count("question and context", whole, "max_length", special)

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Windows with ``labels``: the first and the last token of the answer, or token 0 if the window lacks the answer."""
        windows = self.encode_inputs(columns)
        rows = as_rows(columns)
        spans = [self._span(row) for row in rows]
        places = zip(windows["row"], windows["starts"], windows["ends"], strict=True)
        tokens = [token_span(span, starts, ends) if (span := spans[i]) else None for i, starts, ends in places]
        return {
            **windows,
            "labels": [list(found or (0, 0)) for found in tokens],
            "misses": [spans[i] is not None and not found for i, found in zip(windows["row"], tokens, strict=True)],
            **self._places(rows, windows["row"]),
            # As JSON: `datasets` infers the type of a column from its first rows, which may have no answers.
            "reference": [json.dumps(self.reference(rows[i])) for i in windows["row"]],
        }

    def _span(self, row: dict[str, Any]) -> tuple[int, int] | None:
        answers = self._answers(row)
        return character_span(answers[0], row[self.context]) if answers else None

    def _places(self, rows: list[dict[str, Any]], windows: list[int]) -> dict[str, list[bool]]:
        """For the row of each window, whether its first answer is not where its start says, or nowhere in the context."""
        firsts = [next(iter(self._answers(row)), None) for row in rows]
        absent = [answer is not None and answer[0] not in row[self.context] for answer, row in zip(firsts, rows, strict=True)]
        moved = [answer is not None and is_moved(answer, row[self.context]) for answer, row in zip(firsts, rows, strict=True)]
        return {"moved": [moved[i] and not absent[i] for i in windows], "absent": [absent[i] for i in windows]}

    def setup(self, stage: str | None = None) -> None:
        require_offsets(self.tokenizer, self.backbone, type(self).__name__)
        for rows in self.rows.source.values():
            check_offsets(self.tokenizer, rows[self.context][:SAMPLE], self.backbone, type(self).__name__)
        super().setup(stage)
        for split in self.encoded.keys() - self._found.keys():
            features = self.encoded[split]
            misses, rows = np.array(features["misses"][:]), np.array(features["row"][:])
            lost = set(rows[misses]) - set(rows[~misses])
            left_out = split == "train" and not self.negative_windows
            name = f"windows without their answer{', left out' if left_out else ''}"
            self._found[split] = {name: int(misses.sum()), "answers lost to truncation": len(lost)}
            for column, name in OFF_PLACE.items():
                if wrong := len(set(rows[np.array(features[column][:])])):
                    self._found[split][name] = wrong
            if left_out:
                self.encoded[split] = features.select(np.flatnonzero(~misses))

    def counts(self, split: str) -> dict[str, int]:
        return {**super().counts(split), **self._found[split]}

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        """The tensors of a batch; ``metadata`` has ``offsets``, ``(batch, tokens, 2)``: character offsets in the context."""
        made = super().collate(columns, batch)
        if "reference" in made["metadata"]:
            made["metadata"]["reference"] = list(map(json.loads, made["metadata"]["reference"]))
        made["metadata"]["offsets"] = torch.stack([made.pop("starts"), made.pop("ends")], -1)
        return made


def context_places(offsets: list[tuple[int, int]], sequences: list[int | None]) -> np.ndarray:
    """Offsets ``(tokens, 2)`` of a window; `NO_OFFSET` for tokens outside the second text."""
    places = np.array(offsets, dtype=np.int32)
    places[[sequence != 1 for sequence in sequences]] = NO_OFFSET
    return places
