"""Explain the tokens that a model writes, by the words of its prompt or source."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ftlit.data.text.encoding import frame
from ftlit.insight.explain.examples import Example
from ftlit.insight.explain.tasks.base import MOST_OUTPUTS, Row, View, picked
from ftlit.insight.explain.tasks.places import check_same, part, places_of, tokenized, words_in
from ftlit.insight.explain.words import SPECIAL, Place, Words, words_of
from ftlit.models.generation import Written
from ftlit.util.batch import IGNORED


class Prompt(NamedTuple):
    """What a model writes for, with its words."""

    ids: list[int]
    words: Words
    truncated: bool


class WritingView(View):
    """The logit of each written token. What was written before it stays as it is."""

    output: ClassVar[str] = "the logit of the written token"

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        encoded = self.predictor.encode(list(rows), self.sizes)
        texts: list[Written | None] = [None] * len(rows)
        for part_of in encoded.batches:
            chosen = part_of.tolist()
            for i, written in zip(chosen, self.write(self.predictor.batch(encoded.columns, chosen)), strict=True):
                texts[i] = written
        found: list[Example] = []
        for i, text in enumerate(texts):
            assert text is not None
            prompt = self.prompt(rows[i], encoded.columns["input_ids"][i], encoded.columns["truncated"][i])
            found += self._of_text(i, text, prompt)
        return found

    def _of_text(self, i: int, text: Written, prompt: Prompt) -> Iterator[Example]:
        tokenizer, keep = self.model.tokenizer, self.model.keep_special_tokens
        prediction = str(tokenizer.decode(text.ids, skip_special_tokens=not keep)).strip()
        for k, token in enumerate(text.ids[:MOST_OUTPUTS]):
            features, aims = self.features(prompt, [*text.opening, *text.ids[: k + 1]])
            words = self.words(prompt, len(features["input_ids"]))
            details = {"position": k, "token": token}
            yield Example(i, tokenizer.decode([token]), prediction, features, aims, words, prompt.truncated, details)

    def words(self, prompt: Prompt, tokens: int) -> Words:
        """Return the words of the prompt; tokens after the prompt are left out."""
        return Words(prompt.words.words, prompt.words.of_tokens + [SPECIAL] * (tokens - len(prompt.ids)))

    @abstractmethod
    def write(self, batch: dict[str, Any]) -> list[Written]:
        """Return what the model writes for the rows of a batch."""

    @abstractmethod
    def prompt(self, row: Row, ids: list[int], truncated: bool) -> Prompt:
        """Return what the model reads of a row."""

    @abstractmethod
    def features(self, prompt: Prompt, written: list[int]) -> tuple[dict[str, list[int]], dict[str, Any]]:
        """Return inputs of the model, and aims, for the last one of some written tokens."""

    def _written(self, inputs: dict[str, Tensor]) -> list[Written]:
        task = self.model
        with torch.inference_mode():
            return task.generation.written(task.model, task.tokenizer, inputs, task.max_new_tokens)


class ReplyView(WritingView):
    """The tokens of a reply, or of a text that continues another."""

    def write(self, batch: dict[str, Any]) -> list[Written]:
        prompts = [self._fitting(ids) for ids in self.model.sources(batch)]
        return self._written(self.model.generation_inputs(prompts))

    def _fitting(self, ids: list[int]) -> list[int]:
        """The end of a prompt that leaves room for a reply, as in `CausalLM.replies`."""
        limit = self.model.position_limit
        return ids if limit is None else ids[-(limit - self.model.max_new_tokens) :]

    def prompt(self, row: Row, ids: list[int], truncated: bool) -> Prompt:
        found, places, texts = self._chat(row) if hasattr(self.data, "chat_tokenizer") else self._text(row)
        check_same(self.data, found[-len(ids) :], ids)
        kept = self._fitting(ids)
        return Prompt(kept, words_of(texts, places[-len(kept) :]), truncated or len(kept) < len(ids))

    def _chat(self, row: Row) -> tuple[list[int], list[Place], dict[str, str]]:
        """The tokens of a conversation as the template writes it, their places in it, and the text."""
        text, starts = self.data.chat_template.asked(*self.data.reader.asked(row))
        tokens = self.data.chat_tokenizer.tokens([text], [starts], [""])[0][0]
        special = self.data.chat_tokenizer.special
        places: list[Place] = [
            None if token in special else ("prompt", begin, end)
            for token, begin, end in zip(*(values.tolist() for values in tokens), strict=True)
        ]
        return tokens.ids.tolist(), places, {"prompt": text}

    def _text(self, row: Row) -> tuple[list[int], list[Place], dict[str, str]]:
        """The tokens of a text that is continued, without those that end it."""
        column = self.data.text
        parts = [part(column, row[column])]
        found = tokenized(self.data, parts, truncation=False, verbose=False)
        behind = len(frame(self.data.tokenizer)[1])
        end = len(found["input_ids"][0]) - behind
        return found["input_ids"][0][:end], places_of(found, parts)[:end], {column: row[column]}

    def features(self, prompt: Prompt, written: list[int]) -> tuple[dict[str, list[int]], dict[str, Any]]:
        ids = [*prompt.ids, *written]
        return {"input_ids": ids, "labels": [IGNORED] * (len(ids) - 1) + ids[-1:]}, {"token": written[-1]}

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self.model.logits(inputs).float()  # one row for each example, since each has one label
        return picked(logits, aims["token"]), picked(logits.softmax(-1), aims["token"])


class TargetView(WritingView):
    """The tokens of a target text, by the words of its source."""

    writes: ClassVar[bool] = True

    def write(self, batch: dict[str, Any]) -> list[Written]:
        return self._written(self.model.generation_inputs(self.model.sources(batch)))

    def prompt(self, row: Row, ids: list[int], truncated: bool) -> Prompt:
        data = self.data
        texts = {column: row[column] for column in data.input_columns().values()}
        parts = [part(data.source, row[data.source], data.prefix)]
        parts += [part(data.context, row[data.context])] if data.context else []
        return Prompt(ids, words_in(data, parts, texts, ids), truncated)

    def features(self, prompt: Prompt, written: list[int]) -> tuple[dict[str, list[int]], dict[str, Any]]:
        return {"input_ids": prompt.ids, "labels": written}, {"token": written[-1], "position": len(written) - 1}

    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self.model.logits(inputs).float()
        logits = logits[torch.arange(len(logits), device=logits.device), aims["position"]]
        return picked(logits, aims["token"]), picked(logits.softmax(-1), aims["token"])
