"""Conversations for causal language models: instructions with their answers, dialogues, chats."""

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.batches.chat_packing import collate_blocks
from ftlit.data.batches.collate import PADDING
from ftlit.data.chats.conversations import ConversationError, Messages, check_replies, check_turns
from ftlit.data.chats.examples import Example, TrainOn, examples
from ftlit.data.chats.labels import ChatTokenizer, Tokens
from ftlit.data.chats.reading import READERS, nested
from ftlit.data.chats.rows import Chat, ChatRows
from ftlit.data.chats.templates import TemplateError, in_words
from ftlit.data.chats.turns import ChatTemplate
from ftlit.data.rows.columns import as_rows, every_row
from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import require_offsets
from ftlit.data.text.offsets import check_offsets
from ftlit.errors import UserError
from ftlit.models.embeddings import with_tokens
from ftlit.util.batch import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

ENDS_WITHOUT_USER = "the conversation ends with no turn of the user to reply to"
OPTIONAL = {"system_column": "system", "tools": "tools"}  # columns that are read where a data set has them


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
        system_column: Column of the conversation's own system message; by default `system` if the data have it.
        tools: Column of the tools that the assistant may call, a list or its JSON text; by default `tools` if the data have it.
        roles: Further names of roles in the data, such as `{bot: assistant, customer: user}`.
        template: Chat template: chatml, llama2, llama3, alpaca or a Jinja file; by default the tokenizer's own.
        add_bos: Whether texts begin with the token that begins texts; by default a template from data.template does what the
            tokenizer does, and the tokenizer's own template is used as it is.
        add_tokens: Special tokens to add to the tokenizer, such as `[<call>, </call>]`; their embeddings always train.
        train_on: Which tokens count in the loss: those of all turns of the assistant, including the token that closes a turn;
            those of its last turn; or all.
        packing: Whether conversations of a training batch share blocks of max_length tokens; none attends to another.
        keep_special_tokens: Taken from the model: whether replies keep their special tokens.
    """

    readers = READERS
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
        system_column: str | None = OPTIONAL["system_column"],
        tools: str | None = OPTIONAL["tools"],
        roles: dict[str, str] | None = None,
        template: str | None = None,
        add_bos: bool | None = None,
        add_tokens: list[str] | None = None,
        train_on: TrainOn = "assistant",
        packing: bool = False,
        keep_special_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.messages, self.dialog, self.prompt = messages, dialog, prompt
        self.prompt_input, self.response = prompt_input, response
        self.system_column, self.tools, self.template, self.add_bos = system_column, tools, template, add_bos
        self.add_tokens, self.train_on, self.packing = add_tokens, train_on, packing
        self.keep_special_tokens = keep_special_tokens
        columns = (messages, dialog, prompt, prompt_input, response)
        self._references: dict[str, tuple[Dataset, dict[int, str]]] = {}
        self.reader = ChatRows(*columns, system, system_column, tools, roles or {})

    # Rows

    def input_columns(self) -> dict[str, str]:
        keys = ("messages", "dialog", "prompt", "prompt_input")
        named = [key for key, usual in OPTIONAL.items() if getattr(self, key) != usual]
        return {key: column for key in (*keys, *named) if (column := getattr(self, key))}

    def optional_columns(self) -> dict[str, str]:
        return {key: usual for key, usual in OPTIONAL.items() if getattr(self, key) == usual}

    def input_schema(self) -> dict[str, dict[str, Any]]:
        return super().input_schema() | self.reader.schema()

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
        return self.reader.chat(row).messages

    def validate_inputs(self, row: dict[str, Any]) -> str | None:
        try:
            asked = self.reader.asked(row)
            if not asked.messages:
                return ENDS_WITHOUT_USER
            check_turns(asked.messages)
        except ConversationError as error:
            return str(error)
        return ENDS_WITHOUT_USER if asked.messages[-1]["role"] not in ("user", "tool") else self.chat_template.refusal(*asked)

    def validate_row(self, row: dict[str, Any]) -> str | None:
        try:
            chat = self.reader.chat(row)
            check_turns(chat.messages)
            check_replies(chat.messages, self.train_on)
        except ConversationError as error:
            return str(error)
        return self.chat_template.refusal(*chat)

    def reference(self, row: dict[str, Any]) -> str | None:
        """The assistant's last reply, written as generation writes it."""
        example = self._examples(0, self.reader.chat(row), row.get("row_id", "train:0"))[-1]
        tokens, _ = self._tokens([example])
        return self._reference(example, tokens[0])

    def record(self, row: dict[str, Any]) -> dict[str, Any]:
        return self._record(row, self.reference(row))

    def record_at(self, split: str, i: int) -> dict[str, Any]:
        row, known = self.rows[split][i], self._encoded_references(split).get(i)
        return self.record(row) if known is None else self._record(row, known)

    def _record(self, row: dict[str, Any], label: str | None) -> dict[str, Any]:
        given = {column: row[column] for column in self.input_columns().values() if column in row}
        inputs = {column: nested(value) if column in (self.messages, self.tools) else value for column, value in given.items()}
        return {"id": row["row_id"], **inputs, "label": label}

    def _encoded_references(self, split: str) -> dict[int, str]:
        """The references of an encoded split, by the positions of their rows."""
        encoded = self.encoded.get(split)
        if encoded is None:
            return {}
        if self._references.get(split, (None,))[0] is not encoded:
            found = zip(encoded["row"][:], encoded["reference"][:], strict=True)
            self._references[split] = encoded, {row: reference for row, reference in found if reference is not None}
        return self._references[split][1]

    def joined_texts(self, rows: "Dataset") -> list[str]:
        conversations = (self.conversation(row) for row in every_row(rows))
        return ["\n".join(_text(m) for m in messages if m["role"] != "system") for messages in conversations]

    # Encoding

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer, with the tokens of `add_tokens`."""
        return with_tokens(super().tokenizer, self.add_tokens)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The template that turns conversations into texts."""
        _ = self.encoder.state  # the template's first check uses the tokenizer
        return ChatTemplate(self.tokenizer, self.template, self.add_bos)

    @cached_property
    def chat_tokenizer(self) -> ChatTokenizer:
        """The tokenizer of conversations."""
        return ChatTokenizer(self.tokenizer, self.chat_template.special, self.stop_id)

    @property
    def stop_id(self) -> int:
        """Id of the token that closes the assistant's turn, at which generation stops."""
        return self.chat_template.stop_id

    def encoding_state(self) -> list[Any]:
        return [self.chat_template.source, self.tokenizer.special_tokens_map, self.optional_columns()]

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        chats = [self.reader.asked(row) for row in as_rows(columns)]
        found = [self._prompt(i, chat) for i, chat in enumerate(chats, start=1)]
        prompts, cut = self._cut(self.chat_tokenizer.prompts([text for text, _ in found], [starts for _, starts in found]))
        return {"input_ids": prompts, "prompt_ids": prompts, "truncated": cut}

    def _prompt(self, number: int, chat: Chat) -> tuple[str, list[int]]:
        """The text that asks for a reply, and where earlier replies begin in it."""
        try:
            return self.chat_template.asked(*chat)
        except TemplateError as error:
            raise UserError(f"row {number}: {in_words(error, 'the conversation')}") from None

    def _cut(self, prompts: list[list[int]]) -> tuple[list[list[int]], list[bool]]:
        """Only the end of long prompts, and whether each was cut."""
        return [ids[-self.max_length :] for ids in prompts], [len(ids) > self.max_length for ids in prompts]

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        require_offsets(self.tokenizer, self.backbone, type(self).__name__)
        chats = [self.reader.chat(row) for row in as_rows(columns)]
        places = columns.get("row_id", range(len(chats)))
        examples = [e for i, chat in enumerate(chats) for e in self._examples(i, chat, places[i])]
        texts = [example.written.text for example in examples]
        check_offsets(self.tokenizer, texts, self.backbone, type(self).__name__)
        tokens, prompts = self._tokens(examples)
        self.encoder.count("conversation", (part.ids.tolist() for part in tokens), "max_length")
        self.encoder.count("prompt", filter(None, prompts), "max_length")
        found = [
            self.chat_tokenizer.labelled(part, example.written.text, example.spans, self.max_length)
            for part, example in zip(tokens, examples, strict=True)
        ]
        # A text whose replies are cut away leaves nothing to learn.
        kept = [i for i, feature in enumerate(found) if feature["loss_weights"]]
        # The last reply is compared with the row's last text that is kept, even if its own is not.
        whole, end = ({examples[i].row: i for i in some} for some in (range(len(examples)), kept))
        final = [whole[row] if end[row] == i else None for i in kept for row in [examples[i].row]]
        asked, cut = self._cut([[] if i is None else prompts[i] for i in final])
        return {
            **{name: [found[i][name] for i in kept] for name in ("input_ids", "labels", "loss_weights", "truncated", "bytes")},
            "prompt_ids": asked,
            "prompt_truncated": cut,
            "reference": [None if i is None else self._reference(examples[i], tokens[i]) for i in final],
            "row": [examples[i].row for i in kept],
        }

    def _examples(self, number: int, chat: Chat, place: Any) -> list[Example]:
        try:
            return examples(self.chat_template, chat, number, self.train_on)
        except TemplateError as error:
            found = in_words(error, "the conversation")
            raise UserError(f"{self.dataset}: {self.rows.place_of(str(place))}: {found}") from error

    def _tokens(self, examples: list[Example]) -> tuple[list[Tokens], list[list[int]]]:
        texts = [example.written.text for example in examples]
        starts = [[reply.start for reply in example.written.replies] for example in examples]
        return self.chat_tokenizer.tokens(texts, starts, [example.prompt for example in examples])

    def _reference(self, example: Example, tokens: Tokens) -> str | None:
        if example.last is None:
            return None
        span, text = example.last[:2], example.written.text
        return self.chat_tokenizer.reply(tokens, text, span, example.content, self.keep_special_tokens)

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
            f"conversations left out, whose replies lie behind {limit}": len(self.rows[split]) - len(set(encoded["row"][:])),
            f"prompts cut at {limit}": sum(encoded["prompt_truncated"]),
        }
        return {name: count for name, count in found.items() if count}

    # Batches

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        if self.packing and batch is not None and batch.epoch is not None:
            return collate_blocks(columns, self.max_length, self.pad_token_id)
        made = super().collate(columns, batch)
        return made | ({"bytes": torch.tensor(columns["bytes"], dtype=torch.float32)} if "bytes" in columns else {})


def _text(message: dict[str, Any]) -> str:
    """The whole text of a message, with the calls of tools."""
    parts = [message.get("reasoning_content"), message["content"]]
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls", ())]
    return "\n".join(filter(None, [*parts, *calls]))
