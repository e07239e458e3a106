"""Explain one answer for a whole text: labels, numbers, relations and choices."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ftlit.data.relation_extraction import ENTITY_MARKERS, marked
from ftlit.errors import UserError, near
from ftlit.insight.explain.examples import Example
from ftlit.insight.explain.tasks.base import Row, View, input_features, picked
from ftlit.insight.explain.tasks.places import Part, check_same, part, places_of, row_words, tokenized, words_in
from ftlit.insight.explain.words import Place, Words, words_of


class LabelView(View):
    """The logit of a label of a text or a pair: of the predicted one, of each of several, or of the one that is asked for."""

    def check_label(self) -> None:
        if self.label is not None and self.label not in self.model.label_names:
            known = near(self.label, self.model.label_names)
            raise UserError(f"--label {self.label!r} is not a label of this run. {known}")

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        encoded = self.predictor.encode(list(rows), self.sizes)
        found = []
        for i, answer in enumerate(self.predictor.answers(encoded)):
            features = input_features(encoded.columns, i, "entity_positions")
            words = self.words(rows[i], features["input_ids"])
            prediction, cut = answer["prediction"], answer.get("truncated", False)
            chosen = prediction if isinstance(prediction, list) else [prediction]
            for name in chosen if self.label is None else [self.label]:
                aims = {"label": self.model.label_names.index(name)}
                found.append(Example(i, name, prediction, features, aims, words, cut))
        return found

    def words(self, row: Row, ids: list[int]) -> Words:
        """Return the words of a row's tokens."""
        return row_words(self.data, row, ids)

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self.model.logits(inputs).float()
        return picked(logits, aims["label"]), picked(self.model.probabilities(logits), aims["label"])


class RelationView(LabelView):
    """The logit of a relation between two entities. Their markers are special tokens."""

    def words(self, row: Row, ids: list[int]) -> Words:
        column, *entities = self.data.input_columns().values()
        text = marked(row[column], *(row[name] for name in entities))
        found = tokenized(self.data, [part(column, text)], truncation=False)
        kept = self._window(found.sequence_ids(0), found["input_ids"][0], ids)
        check_same(self.data, [found["input_ids"][0][k] for k in kept], ids)
        places = places_of(found, [part(column, text)])
        return words_of({column: row[column]}, [self._place(text, places[k], found["input_ids"][0][k]) for k in kept])

    def _window(self, parts: list[int | None], whole: list[int], ids: list[int]) -> list[int]:
        """Positions among all tokens of a text of those that are read: special ones, and a window around the markers."""
        first = next(k for k, part in enumerate(parts) if part is not None)
        marker = self.data.marker_ids[0]
        start = whole.index(marker) - ids.index(marker) + first
        return [k for k, part in enumerate(parts) if part is None or start <= k < start + len(ids) - parts.count(None)]

    def _place(self, text: str, place: Place, token: int) -> Place:
        if place is None or token in self.data.marker_ids:
            return None
        column, start, end = place
        return column, _unmarked(text, start), _unmarked(text, end)


def _unmarked(text: str, at: int) -> int:
    """The position in a text without its markers of a character of the text with them."""
    before = text[:at]
    return at - sum(len(marker) * before.count(marker) for marker in ENTITY_MARKERS)


class NumberView(View):
    """The predicted number, in the unit of the target."""

    has_chances: ClassVar[bool] = False
    output: ClassVar[str] = "the predicted number"

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        encoded = self.predictor.encode(list(rows), self.sizes)
        found = []
        for i, answer in enumerate(self.predictor.answers(encoded)):
            features = input_features(encoded.columns, i)
            words, cut = row_words(self.data, rows[i], features["input_ids"]), answer.get("truncated", False)
            found.append(Example(i, self.data.label, answer["prediction"], features, {}, words, cut))
        return found

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        value = self.model.logits(inputs).float().squeeze(1) * self.model.deviation + self.model.mean
        return value, value


class ChoiceView(View):
    """The score of the chosen text, by the words of the question and of this text; the scores of the others stay."""

    output: ClassVar[str] = "the score of the choice"

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        encoded = self.predictor.encode(list(rows), self.sizes)
        found = []
        for i, answer in enumerate(self.predictor.answers(encoded)):
            chosen = answer["index"]
            columns = {name: encoded.columns[name][i] for name in encoded.columns if name in ("input_ids", "token_type_ids")}
            words = self._words(rows[i], chosen, columns["input_ids"][chosen])
            scores = self._scores(columns, len(columns["input_ids"]))
            aims = {"others": float(torch.tensor([s for k, s in enumerate(scores) if k != chosen]).logsumexp(0))}
            details = {"index": chosen}
            features, cut = input_features(columns, chosen), answer.get("truncated", False)
            found.append(Example(i, answer["prediction"], answer["prediction"], features, aims, words, cut, details))
        return found

    def _scores(self, columns: dict[str, list[Any]], count: int) -> list[float]:
        none = Words([], [])
        return self.measured([Example(0, "", "", input_features(columns, k), {"others": 0.0}, none) for k in range(count)])

    def _words(self, row: Row, chosen: int, ids: list[int]) -> Words:
        data = self.data
        column = data.choices if isinstance(data.choices, str) else data.choices[chosen]
        text, start = data.texts(row)[chosen], f"{row[data.start]} " if data.start else ""
        end = Part(start + text, ((column, len(start), len(start) + len(text)),))
        texts = {data.question: row[data.question], column: text}
        if data.start:
            end = Part(end.text, ((data.start, 0, len(start) - 1), *end.columns))
            texts = {data.question: row[data.question], data.start: row[data.start], column: text}
        return words_in(data, [part(data.question, row[data.question]), end], texts, ids)

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        scores = self.model(inputs).logits.float().squeeze(1)
        return scores, (scores - aims["others"]).sigmoid()
