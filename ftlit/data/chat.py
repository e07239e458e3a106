"""Conversations for causal language models: instructions with their answers, dialogues, chats."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.batches.chat_packing import collate_blocks
from ftlit.data.batches.collate import PADDING
from ftlit.data.rows.columns import as_rows
from ftlit.data.rows.rows import text_problem
from ftlit.data.shared.base import TaskData
from ftlit.data.text.chat_templates import CharacterSpan, ChatTemplate, Messages, UnstableTemplateError
from ftlit.data.text.conversations import (
    ConversationError,
    check_turns,
    from_messages,
    from_utterances,
    through_last_reply,
    without_final_reply,
)
from ftlit.data.text.encoding import require_offsets
from ftlit.errors import UserError
from ftlit.util.batch import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

ENDS_WITHOUT_USER = "the conversation ends with no turn of the user to reply to"


class ChatData(TaskData):
    """Conversations of a user and an assistant; the model learns the assistant's turns.

    A row has one of three forms: a list of messages, a list of utterances, or a prompt with its response.

    Args:
        messages: Column of lists of messages with `role` and `content`, or with `from` and `value` as ShareGPT has them.
        dialog: Column of lists of utterances, in which the user and the assistant alternate.
        prompt: Column of the user's message, such as an instruction or a question.
        prompt_input: Column of an optional text below the prompt, such as `input` of Alpaca.
        response: Column of the answer to the prompt.
        system: System message for conversations that have none.
        template: Chat template: chatml, llama2, llama3, alpaca or a Jinja file; by default the tokenizer's own.
        train_on: Which tokens count in the loss: those of all turns of the assistant, including the token that closes a turn;
            those of its last turn; or all.
        packing: Whether conversations of a training batch share blocks of max_length tokens; none attends to another.
    """

    padding: ClassVar[dict[str, int]] = {**PADDING, "labels": IGNORED}
    metadata: ClassVar[tuple[str, ...]] = ("prompt_ids", "reference")

    def __init__(
        self,
        messages: str | None = None,
        dialog: str | None = None,
        prompt: str | None = None,
        prompt_input: str | None = None,
        response: str | None = None,
        system: str | None = None,
        template: str | None = None,
        train_on: Literal["assistant", "last", "all"] = "assistant",
        packing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.messages, self.dialog, self.prompt = messages, dialog, prompt
        self.prompt_input, self.response = prompt_input, response
        self.system, self.template, self.train_on, self.packing = system, template, train_on, packing
        self._check_form()

    def _check_form(self) -> None:
        given = [key for key in ("messages", "dialog", "prompt") if getattr(self, key)]
        if len(given) != 1:
            raise UserError(
                "set one of data.messages, data.dialog and data.prompt to the column that holds the conversations, "
                f"got {' and '.join(given) or 'none'}"
            )
        if bool(self.prompt) != bool(self.response) or (self.prompt_input and not self.prompt):
            raise UserError("data.prompt and data.response go together, and data.prompt_input goes with them")

    # Rows

    def input_columns(self) -> dict[str, str]:
        keys = ("messages", "dialog", "prompt", "prompt_input")
        return {key: column for key in keys if (column := getattr(self, key))}

    def columns(self) -> dict[str, str]:
        return self.input_columns() | ({"response": self.response} if self.response else {})

    def row_from_text(self, text: str) -> dict[str, Any]:
        if self.messages:
            return {self.messages: [{"role": "user", "content": text}]}
        return {self.dialog: [text]} if self.dialog else {str(self.prompt): text}

    def conversation(self, row: dict[str, Any]) -> Messages:
        """The messages of a row, with the system message first if there is one.

        Raises:
            ConversationError: If the row does not hold a conversation.
        """
        if self.messages:
            found = from_messages(row.get(self.messages), self.messages)
        elif self.dialog:
            found = from_utterances(row.get(self.dialog), self.dialog)
        else:
            found = self._single_turn(row)
        system = self.system and found[0]["role"] != "system"
        return [{"role": "system", "content": str(self.system)}, *found] if system else found

    def _single_turn(self, row: dict[str, Any]) -> Messages:
        prompt, response = str(self.prompt), str(self.response)
        answered = response in row
        for column in (prompt, *([response] if answered else [])):
            if problem := text_problem(row, column):
                raise ConversationError(problem)
        more = row.get(self.prompt_input) if self.prompt_input else None
        if not isinstance(more, str | None):
            raise ConversationError(f"column {self.prompt_input!r} holds {more!r}, not a text")
        text = f"{row[prompt]}\n{more}" if more and more.strip() else row[prompt]
        reply = [{"role": "assistant", "content": row[response]}] if answered else []
        return [{"role": "user", "content": text}, *reply]

    def _asked(self, row: dict[str, Any]) -> Messages:
        """The conversation up to the turn that should be answered."""
        given = {column: value for column, value in row.items() if column != self.response}
        return without_final_reply(self.conversation(given))

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        try:
            asked = self._asked(row)
            check_turns(asked)
        except ConversationError as error:
            return str(error)
        return ENDS_WITHOUT_USER if asked[-1]["role"] != "user" else self._refusal(asked)

    def validate_row(self, row: dict[str, Any]) -> str | None:
        try:
            messages = self.conversation(row)
            check_turns(messages)
        except ConversationError as error:
            return str(error)
        replied = any(message["role"] == "assistant" for message in messages)
        return self._refusal(messages) if replied else "the conversation has no turn of the assistant"

    def _refusal(self, messages: Messages) -> str | None:
        return self.chat_template.refusal(tuple(message["role"] for message in messages))

    def reference(self, row: dict[str, Any]) -> str:
        """The assistant's last reply."""
        return through_last_reply(self.conversation(row))[-1]["content"]

    def joined_texts(self, rows: "Dataset") -> list[str]:
        conversations = (self.conversation(row) for row in rows)  # type: ignore[arg-type]
        return ["\n".join(m["content"] for m in messages if m["role"] != "system") for messages in conversations]

    # Encoding

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The template that turns conversations into texts."""
        _ = self.encoder.state  # the template's first check uses the tokenizer
        return ChatTemplate(self.tokenizer, self.template)

    @property
    def stop_id(self) -> int:
        """Id of the token that closes the assistant's turn, at which generation stops."""
        return self.chat_template.stop_id

    def encoding_state(self) -> list[Any]:
        return [self.chat_template.source, self.tokenizer.special_tokens_map]

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        prompts, cut = self._prompts([self._asked(row) for row in as_rows(columns)])
        return {"input_ids": prompts, "prompt_ids": prompts, "truncated": cut}

    def _prompts(self, asked: list[Messages]) -> tuple[list[list[int]], list[bool]]:
        """The tokens of prompts, only the end of long ones, and whether each was cut."""
        texts = [self.chat_template.render(messages, reply_follows=True) for messages in asked]
        found = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [ids[-self.max_length :] for ids in found], [len(ids) > self.max_length for ids in found]

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        require_offsets(self.tokenizer, self.backbone, type(self).__name__)
        conversations = [self.conversation(row) for row in as_rows(columns)]
        places = columns.get("row_id", range(len(conversations)))
        written = [self._turns(messages, place) for messages, place in zip(conversations, places, strict=True)]
        tokens = self.tokenizer([text for text, _ in written], add_special_tokens=False, return_offsets_mapping=True)
        found = [
            self._labelled(ids, np.array(offsets), text, turns)
            for ids, offsets, (text, turns) in zip(tokens["input_ids"], tokens["offset_mapping"], written, strict=True)
        ]
        # A conversation whose replies are cut away leaves nothing to learn.
        kept = [i for i, feature in enumerate(found) if feature["loss_weights"]]
        prompts, cut = self._prompts([without_final_reply(through_last_reply(conversations[i])) for i in kept])
        return {
            **{name: [found[i][name] for i in kept] for name in ("input_ids", "labels", "loss_weights", "truncated", "bytes")},
            "prompt_ids": prompts,
            "prompt_truncated": cut,
            "reference": [through_last_reply(conversations[i])[-1]["content"] for i in kept],
            "row": kept,
        }

    def _turns(self, messages: Messages, place: Any) -> tuple[str, list[CharacterSpan]]:
        """The text of a conversation, and the character spans of the tokens that count in the loss."""
        try:
            text, turns = self.chat_template.turns(messages)
        except UnstableTemplateError as error:
            raise UserError(f"{self.dataset}: {self.rows.place_of(str(place))}: {error}") from error
        return text, {"assistant": turns, "last": turns[-1:], "all": [(0, len(text))]}[self.train_on]

    def _labelled(self, ids: list[int], offsets: np.ndarray, text: str, turns: list[CharacterSpan]) -> dict[str, Any]:
        """One feature: each token that overlaps a turn has a label, except the first of the text.

        ``bytes`` counts the bytes of the labelled text, without special tokens.
        """
        truncated = len(ids) > self.max_length
        tokens, (begins, ends) = np.array(ids)[: self.max_length], offsets[: self.max_length].T
        ends = np.maximum(ends, begins + 1)
        chosen = np.zeros(len(tokens), dtype=bool)
        for start, end in turns:
            chosen |= (ends > start) & (begins < end)
        chosen[0] = False
        labels = np.where(chosen, tokens, IGNORED)
        learned = [text[max(start, offsets[0, 1]) : min(end, ends[-1])] for start, end in turns]
        marks = chosen & np.isin(tokens, list(self.chat_template.special_ids))
        special = [text[b:e] for b, e in offsets[: self.max_length][marks]]
        return {
            "input_ids": tokens.tolist(),
            "labels": labels.tolist(),
            "loss_weights": int(chosen.sum()),
            "truncated": truncated,
            "bytes": byte_count(learned) - byte_count(special),
        }

    def encode_split(self, rows: "Dataset") -> "Dataset":
        found = super().encode_split(rows)
        if not len(found):
            raise UserError(
                f"all labels masked: none of the {len(rows)} conversations has a token of the assistant within data.max_length "
                f"{self.max_length}; raise data.max_length"
            )
        return found

    def counts(self, split: str) -> dict[str, int]:
        encoded, limit = self.encoded[split], f"data.max_length {self.max_length}"
        found = {
            f"conversations left out, whose replies lie behind {limit}": len(self.rows[split]) - len(encoded),
            f"prompts cut at {limit}": sum(encoded["prompt_truncated"]),
        }
        return {name: count for name, count in found.items() if count}

    # Batches

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        if self.packing and batch is not None and batch.epoch is not None:
            return collate_blocks(columns, self.max_length, self.pad_token_id)
        made = super().collate(columns, batch)
        return made | ({"bytes": torch.tensor(columns["bytes"], dtype=torch.float32)} if "bytes" in columns else {})


def byte_count(texts: list[str]) -> int:
    """Number of bytes of texts in UTF-8."""
    return sum(len(text.encode()) for text in texts)
