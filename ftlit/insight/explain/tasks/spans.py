"""Explain labels of words, and answers that are parts of a text."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from torch import Tensor

from ftlit.data.text.word_encoder import WordEncoder
from ftlit.errors import UserError, near
from ftlit.insight.explain.examples import NO_AIM, Example
from ftlit.insight.explain.tasks.base import MOST_OUTPUTS, Row, View, input_features, picked
from ftlit.insight.explain.tasks.places import check_same, part, places_of, tokenized
from ftlit.insight.explain.words import SPECIAL, Word, Words, words_of
from ftlit.metrics.entities import located_words
from ftlit.metrics.spans import entities

Chosen = tuple[str, int, int]  # a label, its first word, and the word behind its last one


class TagView(View):
    """The mean logit of the predicted labels of an entity's words, or that of the label of each word."""

    output: ClassVar[str] = "the mean logit of the labels of its words"

    def check_label(self) -> None:
        names = self.model.label_names
        known = sorted({name.partition("-")[2] for name in names} - {""}) if self.model.spans else names
        if self.label is not None and self.label not in known:
            raise UserError(f"--label {self.label!r} is not a label of this run. {near(self.label, known)}")

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        encoded = self.predictor.encode(list(rows), self.sizes)
        windows: list[list[int]] = [[] for _ in rows]
        for feature, row in enumerate(encoded.columns["row"]):
            windows[row].append(feature)
        answers = self.predictor.answers(encoded)
        return [
            example
            for i, (row, answer) in enumerate(zip(rows, answers, strict=True))
            for example in self._of_row(i, row, answer, encoded.columns, windows[i])
        ]

    def _of_row(
        self, i: int, row: Row, answer: dict[str, Any], columns: dict[str, list[Any]], windows: list[int]
    ) -> Iterator[Example]:
        """The examples of a row, each in the window that its first word belongs to."""
        column = next(iter(self.data.input_columns().values()))
        text, offsets = located_words(row[column])
        words = [Word(text[start:end], column, start, end) for start, end in offsets]
        tags = answer["tags" if self.model.spans else "prediction"]
        bounds = [0, *accumulate(len(columns["starts"][feature]) for feature in windows)]
        read: dict[int, Words] = {}
        for label, first, last in self._chosen(tags):
            k = next(k for k in range(len(windows)) if first < bounds[k + 1])
            feature, last = windows[k], min(last, bounds[k + 1])
            features = input_features(columns, feature)
            if k not in read:
                read[k] = self._words(words, text, offsets, features["input_ids"], columns["starts"][feature], bounds[k])
            own = range(first - bounds[k], last - bounds[k])
            aims = {
                "tokens": [columns["starts"][feature][w] for w in own],
                "labels": [self.model.label_names.index(tag) for tag in tags[first:last]],
            }
            start, end = offsets[first][0], offsets[last - 1][1]
            details = {"text": text[start:end], "start": start, "end": end}
            cut = answer.get("truncated", False)
            yield Example(i, label, answer["prediction"], features, aims, read[k], cut, details)

    def _chosen(self, tags: list[str]) -> list[Chosen]:
        """What is explained of the tags of a text."""
        found = entities(tags) if self.model.spans else [(tag, i, i + 1) for i, tag in enumerate(tags)]
        return [one for one in found if self.label in (None, one[0])][:MOST_OUTPUTS]

    def _words(
        self, words: list[Word], text: str, offsets: list[tuple[int, int]], ids: list[int], starts: list[int], first: int
    ) -> Words:
        """The words of a window: its own, of which the first is given with its token, and those around them."""
        encoder = WordEncoder(self.data.tokenizer, self.data.max_length, self.data.stride)
        subwords = [word[: encoder.room] for word in encoder.subwords([(text, offsets)])[0]]
        before, inside = len(encoder.before), len(ids) - len(encoder.before) - len(encoder.behind)
        start, position = first, starts[0]
        while position > before:
            start -= 1
            position -= len(subwords[start])
        end, tokens = start, list[int]()
        while len(tokens) < inside:
            tokens += [end - start] * len(subwords[end])
            end += 1
        read = [*encoder.before, *(token for word in subwords[start:end] for token in word), *encoder.behind]
        check_same(self.data, read, ids)
        return Words(words[start:end], [SPECIAL] * before + tokens + [SPECIAL] * len(encoder.behind))

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self.model.logits(inputs).float()
        there = aims["tokens"] != NO_AIM
        places, labels = aims["tokens"].clamp(min=0), aims["labels"].clamp(min=0)
        count = there.sum(1)

        def mean(values: Tensor) -> Tensor:
            """Of the labels at their tokens, from ``(examples, tokens, labels)``."""
            rows = values.gather(1, places.unsqueeze(2).expand(-1, -1, values.shape[2]))
            return (rows.gather(2, labels.unsqueeze(2)).squeeze(2) * there).sum(1) / count

        return mean(logits), mean(logits.softmax(-1))


class AnswerView(View):
    """The sum of the logits of the first and the last token of an answer, or of no answer where that is predicted."""

    output: ClassVar[str] = "the sum of the logits of the first and the last token of the answer"

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        encoded = self.predictor.encode(list(rows), self.sizes)
        windows: list[list[int]] = [[] for _ in rows]
        for feature, row in enumerate(encoded.columns["row"]):
            windows[row].append(feature)
        answers = self.predictor.answers(encoded)
        return [
            self._of_row(i, row, answer, encoded.columns, windows[i])
            for i, (row, answer) in enumerate(zip(rows, answers, strict=True))
        ]

    def _of_row(self, i: int, row: Row, answer: dict[str, Any], columns: dict[str, list[Any]], windows: list[int]) -> Example:
        """The answer of a row, in the window that has it with the highest score; no answer in that with the lowest."""
        none, read = answer["start"] is None, self._words(row)
        found = []
        for k, feature in enumerate(windows):
            first, last = (0, 0) if none else _tokens_of(answer, columns["starts"][feature], columns["ends"][feature])
            if first is None or last is None:
                continue
            features = input_features(columns, feature)
            check_same(self.data, read[k][1], features["input_ids"])
            details = {} if none else {"start": answer["start"], "end": answer["end"]}
            target = "no answer" if none else answer["prediction"]
            aims = {"start": first, "end": last}
            found.append(Example(i, target, answer["prediction"], features, aims, read[k][0], False, details))
        scores = self.measured(found) if len(found) > 1 else [0.0]
        return found[scores.index((min if none else max)(scores))]

    def _words(self, row: Row) -> list[tuple[Words, list[int]]]:
        """The words and the tokens of each window of a row."""
        data = self.data
        texts = {column: row[column] for column in (data.question, data.context)}
        parts = [part(*item) for item in texts.items()]
        cut = {"truncation": "only_second", "max_length": data.max_length, "stride": data.stride}
        found = tokenized(data, parts, return_overflowing_tokens=True, **cut)
        return [(words_of(texts, places_of(found, parts, k)), ids) for k, ids in enumerate(found["input_ids"])]

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        starts, ends = self.model.logits(inputs).float().unbind(-1)
        chance = picked(starts.softmax(-1), aims["start"]) * picked(ends.softmax(-1), aims["end"])
        return picked(starts, aims["start"]) + picked(ends, aims["end"]), chance


def _tokens_of(answer: dict[str, Any], starts: Sequence[int], ends: Sequence[int]) -> tuple[int | None, int | None]:
    """The first and the last token of an answer among those of a window with characters of the context, or None."""
    tokens = [k for k in range(len(starts)) if starts[k] >= 0]
    first = next((k for k in tokens if starts[k] <= answer["start"] < ends[k]), None)
    last = next((k for k in reversed(tokens) if starts[k] < answer["end"] <= ends[k]), None)
    return first, last
