"""The rows of a data set as conversations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ftlit.data.chats.conversations import (
    STANDARD_ROLES,
    ConversationError,
    Messages,
    from_messages,
    from_utterances,
    with_system,
    without_final_reply,
)
from ftlit.data.chats.tool_calls import CallError, tools_of
from ftlit.data.rows.rows import text_problem
from ftlit.errors import UserError

TARGETS = ("system", "user", "assistant", "tool", "function_call")


class Chat(NamedTuple):
    """A conversation, and the tools that are at hand in it."""

    messages: Messages
    tools: list[dict[str, Any]]


@dataclass(frozen=True)
class ChatRows:
    """Reads conversations from rows.

    Args:
        messages: Column of lists of messages.
        dialog: Column of lists of utterances.
        prompt: Column of the user's message.
        prompt_input: Column of an optional text below the prompt.
        response: Column of the answer to the prompt.
        system: System message for conversations that have none.
        system_column: Column of the system message.
        tools: Column of the tools.
        roles: The role in the conversation of further roles in the data.
    """

    messages: str | None
    dialog: str | None
    prompt: str | None
    prompt_input: str | None
    response: str | None
    system: str | None
    system_column: str | None
    tools: str | None
    roles: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [key for key in ("messages", "dialog", "prompt") if getattr(self, key)]
        if len(given) != 1:
            raise UserError(
                "set one of data.messages, data.dialog and data.prompt to the column that holds the conversations, "
                f"got {' and '.join(given) or 'none'}"
            )
        if bool(self.prompt) != bool(self.response) or (self.prompt_input and not self.prompt):
            raise UserError("data.prompt and data.response go together, and data.prompt_input goes with them")
        for role, target in self.roles.items():
            if target not in TARGETS:
                raise UserError(f"data.roles maps {role!r} to {target!r}; expected one of {', '.join(TARGETS)}")

    def chat(self, row: Mapping[str, Any]) -> Chat:
        """The conversation of a row, with the system message first if there is one.

        Raises:
            ConversationError: If the row does not hold a conversation.
        """
        if self.messages:
            found = from_messages(row.get(self.messages), self.messages, {**STANDARD_ROLES, **self.roles})
        elif self.dialog:
            found = from_utterances(row.get(self.dialog), self.dialog)
        else:
            found = self._single_turn(row)
        own = row.get(self.system_column) if self.system_column else None
        return Chat(with_system(found, own, self.system_column, self.system), self._tools(row))

    def asked(self, row: Mapping[str, Any]) -> Chat:
        """The conversation of a row up to the turn that should be answered."""
        found = self.chat({column: value for column, value in row.items() if column != self.response})
        return found._replace(messages=without_final_reply(found.messages))

    def schema(self) -> dict[str, dict[str, Any]]:
        """The JSON schemas of the columns that hold more than one text."""
        objects: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
        utterances: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
        known = {self.messages: objects, self.dialog: utterances, self.tools: objects}
        return {column: kind for column, kind in known.items() if column}

    def _tools(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            return tools_of(row.get(self.tools)) if self.tools else []
        except CallError as error:
            raise ConversationError(f"column {self.tools!r} {error}; data.tools names the column of the tools") from None

    def _single_turn(self, row: Mapping[str, Any]) -> Messages:
        prompt, response = str(self.prompt), str(self.response)
        answered = response in row
        for column in (prompt, *([response] if answered else [])):
            if problem := text_problem(dict(row), column):
                raise ConversationError(problem)
        more = row.get(self.prompt_input) if self.prompt_input else None
        if not isinstance(more, str | None):
            raise ConversationError(f"column {self.prompt_input!r} holds {more!r}, not a text")
        text = f"{row[prompt]}\n{more}" if more and more.strip() else row[prompt]
        reply = [{"role": "assistant", "content": row[response]}] if answered else []
        return [{"role": "user", "content": text}, *reply]
