"""Conversion of the conversations of data sets to lists of messages with ``role`` and ``content``."""

from typing import Any

STANDARD_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"}


class ConversationError(ValueError):
    """A conversation is invalid; the message says why."""


def from_messages(value: Any, column: str) -> list[dict[str, str]]:
    """A conversation from messages with ``role`` and ``content``, or with ``from`` and ``value`` as in ShareGPT.

    Raises:
        ConversationError: If an entry is not a message.
    """
    return [_message(i, message, column) for i, message in enumerate(_entries(value, column), start=1)]


def _message(number: int, message: Any, column: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise ConversationError(f"message {number} in column {column!r} is {message!r}, not an object with role and content")
    role = next((message[key] for key in ("role", "from") if message.get(key) is not None), None)
    content = next((message[key] for key in ("content", "value") if message.get(key) is not None), None)
    if role not in STANDARD_ROLES:
        known = "system, user and assistant, or human and gpt"
        raise ConversationError(f"message {number} in column {column!r} has the role {role!r}; known are {known}")
    return {"role": STANDARD_ROLES[role], "content": _text(content, f"message {number} in column {column!r}")}


def from_utterances(value: Any, column: str) -> list[dict[str, str]]:
    """A conversation from alternating utterances of the user and the assistant, beginning with the user.

    Raises:
        ConversationError: If an utterance is not a text.
    """
    return [
        {"role": ("user", "assistant")[i % 2], "content": _text(text, f"utterance {i + 1} in column {column!r}")}
        for i, text in enumerate(_entries(value, column))
    ]


def check_turns(messages: list[dict[str, str]]) -> None:
    """Check that a conversation begins with a turn of the user, after at most one system message.

    Raises:
        ConversationError: If it does not.
    """
    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        raise ConversationError(f"message {roles.index('system', 1) + 1} is a system message, which may only come first")
    if (spoken := roles[1:] if roles[:1] == ["system"] else roles) and spoken[0] != "user":
        raise ConversationError(f"the conversation begins with a turn of the {spoken[0]}, not of the user")
    if not spoken:
        raise ConversationError("the conversation has no turn of the user")


def through_last_reply(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation up to and including the assistant's last turn."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return messages[: last + 1]


def without_final_reply(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation without its last turn if that is the assistant's."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def _entries(value: Any, column: str) -> list[Any]:
    if value is None or value == []:
        raise ConversationError(f"the conversation in column {column!r} is empty")
    if not isinstance(value, list):
        raise ConversationError(f"column {column!r} holds {value!r}, not a list of turns")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ConversationError(f"{place} holds {value!r}, not a text")
    if not value.strip():
        raise ConversationError(f"{place} is empty")
    return value
