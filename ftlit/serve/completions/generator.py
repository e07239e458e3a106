"""What a predictor can write, and the call of `generate` for texts of several requests."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from ftlit.data.chat import ChatData
from ftlit.data.rows.rows import text_problem
from ftlit.data.text.encoding import unfinished
from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.models.generation import Generation
from ftlit.serve.completions.reply import Reply, Settings
from ftlit.serve.completions.sampling import Draw, RowSampler
from ftlit.serve.completions.text import Decoder
from ftlit.serve.problems import ProblemError

MESSAGES, PROMPT = "messages", "prompt"
COLDEST = 1e-5  # temperature below which draws are as good as certain
TOO_LONG = "context_length_exceeded"


class Generator:
    """The texts that a predictor can write.

    Args:
        predictor: The predictor.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.data = predictor, predictor.data
        self.task: Any = cast(Any, predictor.model)
        self.writes = hasattr(self.task, "generation_inputs")
        self.chat: Predictor | None = None
        if self.writes and isinstance(self.data, ChatData):
            self.chat = Predictor(self.task, conversations(self.data), predictor.device)
        self.continues = self.writes and (self.chat is not None or self.data.row_from_text("text") is not None)
        if self.writes:
            self.decoder = Decoder(self.task)
            self.generation: Generation = self.task.generation

    def begin(self, reply: Reply, asked: Any, settings: Settings) -> None:
        """Prepare a reply to a conversation or behind a prompt.

        Args:
            reply: The reply.
            asked: A list of messages, or a text.
            settings: How it is written.

        Raises:
            ProblemError: What is asked is too long.
            UserError: It is wrong.
        """
        source, tokens = self._conversation(asked) if isinstance(asked, list) else self._prompt(asked)
        room, usual = self.task.room(source), self.generation.max_new_tokens or self.task.max_new_tokens
        wanted = settings.max_tokens or (usual if room is None else min(usual, room))
        if room is not None and not 0 < wanted <= room:
            raise ProblemError(
                400,
                f"behind {tokens} tokens there is room for {max(room, 0)} in this model, not for {max(wanted, 1)}",
                param="max_tokens" if settings.max_tokens else None,
                code=TOO_LONG,
            )
        reply.begin(source, tokens, wanted, self._draw(settings), self.decoder)

    def _conversation(self, messages: list[Any]) -> tuple[Any, int]:
        assert self.chat is not None
        return self._source(self.chat, {MESSAGES: messages})

    def _prompt(self, text: str) -> tuple[Any, int]:
        if self.chat is None:
            return self._source(self.predictor, text)
        if problem := text_problem({PROMPT: text}, PROMPT):
            raise UserError(problem)
        [ids] = unfinished(self.data.tokenizer, [text])  # without the template of conversations
        if len(ids) > self.data.max_length:
            self._too_long()
        return ids, len(ids)

    def _source(self, predictor: Predictor, given: Any) -> tuple[Any, int]:
        """A row as the task takes it, and its number of tokens."""
        row, data = predictor.row(0, given), predictor.data
        names = (data.input_columns() | data.optional_columns()).values()
        columns = data.encode_inputs({name: [row.get(name)] for name in names})
        predictor.check_tokens(columns["input_ids"])
        if any(columns["truncated"]):
            self._too_long()
        [source] = self.task.sources(data.collate(columns))
        return source, len(columns["input_ids"][0])

    def _too_long(self) -> None:
        raise ProblemError(
            400, f"this run takes {self.data.max_length} tokens (data.max_length of its config); send fewer", code=TOO_LONG
        )

    def _draw(self, settings: Settings) -> Draw | None:
        own = self.generation
        if settings.temperature is None and settings.top_p is None:
            temperature, top_p = (own.temperature, own.top_p) if own.do_sample else (0.0, 1.0)
        else:
            temperature = 1.0 if settings.temperature is None else settings.temperature
            top_p = 1.0 if settings.top_p is None else settings.top_p
        if temperature < COLDEST:
            return None
        return Draw(temperature, top_p, own.top_k if own.do_sample else 0, settings.seed, self.predictor.device)

    def together(self, one: Reply, other: Reply) -> bool:
        """Whether two replies can be written in one batch; beams of different lengths cannot."""
        if self.generation.num_beams == 1:
            return True
        return (one.draw is None) == (other.draw is None) and (one.draw is not None or one.longest == other.longest)

    @torch.inference_mode()
    def write(self, replies: Sequence[Reply]) -> None:
        """Write replies that have begun and can be written together."""
        beams = self.generation.num_beams if replies[0].draw is None else 1
        longest = max(reply.longest for reply in replies)
        plain = {name: getattr(Generation, name) for name in ("do_sample", "temperature", "top_k", "top_p")}
        shortest = min(self.generation.min_new_tokens, longest)
        settings = replace(self.generation, num_beams=beams, max_new_tokens=longest, min_new_tokens=shortest, **plain)
        inputs = self.task.generation_inputs([reply.source for reply in replies])
        watch = Beams(replies) if beams > 1 else Steps(replies)
        found = self.task.model.generate(
            **inputs,
            generation_config=settings.config(self.decoder.tokenizer, longest),
            logits_processor=LogitsProcessorList([RowSampler([reply.draw for reply in replies])]),
            stopping_criteria=StoppingCriteriaList([watch]),
        )
        if beams > 1:
            start = 1 if self.task.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            for reply, ids in zip(replies, found[:, start:].tolist(), strict=True):
                any(reply.take(token) for token in ids)


class Steps(StoppingCriteria):
    """Gives each token to its reply at once, and ends rows whose reply is over.

    Args:
        replies: The reply of each row.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = replies

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:  # type: ignore[override]
        tokens = input_ids[:, -1].tolist()
        over = [reply.take(token) for reply, token in zip(self.replies, tokens, strict=True)]
        return torch.tensor(over, device=input_ids.device)


class Beams(StoppingCriteria):
    """Ends a search with beams once nobody wants its texts.

    Args:
        replies: The replies.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = replies

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:  # type: ignore[override]
        return torch.full((len(input_ids),), all(reply.over for reply in self.replies), device=input_ids.device)


def conversations(data: ChatData) -> ChatData:
    """The same data for rows with a list of messages, whatever form the rows of the data set have."""
    _ = data.chat_tokenizer  # which the two share
    others: dict[str, Any] = dict.fromkeys(("dialog", "prompt", "prompt_input", "response", "system_column", "tools"))
    other = copy(data)
    vars(other).update(others, messages=MESSAGES, reader=replace(data.reader, messages=MESSAGES, **others))
    return other
