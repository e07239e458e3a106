"""Conversations of data sets as lists of messages, in the form that chat templates take.

A message has a ``role``, which is system, user, assistant or tool, and ``content``, a text. The assistant's messages may also
have ``tool_calls`` and ``reasoning_content``, and ``train: False`` if they do not count in the loss. Other keys are kept.
"""

import json
from collections.abc import Mapping
from typing import Any

from ftlit.data.chats.tool_calls import CallError, calls_of, compact, parsed_call

Messages = list[dict[str, Any]]

# The roles of chat templates, and those of ShareGPT and its successors.
STANDARD_ROLES = {
    **{role: role for role in ("system", "user", "assistant", "tool", "function_call")},
    **{"human": "user", "gpt": "assistant", "developer": "system"},
    **{"observation": "tool", "function": "tool", "function_response": "tool", "ipython": "tool"},
}
ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
LOSS_KEYS = ("weight", "train", "loss")
REPLACED = {*ROLE_KEYS, *CONTENT_KEYS, *REASONING_KEYS, *LOSS_KEYS, "tool_calls", "function_call"}


class ConversationError(ValueError):
    """A conversation is invalid; the message says why."""


def is_trained(message: dict[str, Any]) -> bool:
    """Whether a message is a turn of the assistant that counts in the loss."""
    return message["role"] == "assistant" and message.get("train", True)


def from_messages(value: Any, column: str, roles: Mapping[str, str] = STANDARD_ROLES) -> Messages:
    """A conversation from messages with ``role`` and ``content``, or with ``from`` and ``value`` as in ShareGPT.

    Args:
        value: The cell: a list of messages, or its JSON text.
        column: Its column, for messages.
        roles: The role in the conversation of each role in the data.

    Raises:
        ConversationError: If an entry is not a message.
    """
    entries = enumerate(_entries(value, column), start=1)
    return [_message(entry, f"message {i} in column {column!r}", roles) for i, entry in entries]


def _message(entry: Any, place: str, roles: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ConversationError(f"{place} is {entry!r}, not an object with role and content")
    given, content = _first(entry, ROLE_KEYS), _first(entry, CONTENT_KEYS)
    role = roles.get(given) if isinstance(given, str) else None
    if role is None:
        own = [name for name in roles if name not in STANDARD_ROLES]
        known = ", ".join([*own, "system, user, assistant, tool and function_call, or human, gpt and observation"])
        raise ConversationError(f"{place} has the role {given!r}; known are {known}; data.roles names others")
    try:
        calls = [parsed_call(call) for call in calls_of(content)] if role == "function_call" else []
        for key in ("tool_calls", "function_call"):
            calls += [parsed_call(call) for call in calls_of(entry.get(key))]
    except CallError as error:
        raise ConversationError(f"{place} {error}") from None
    role, content = ("assistant", None) if role == "function_call" else (role, content)
    reasoning = _first(entry, REASONING_KEYS)
    for key, found in (("tool_calls", calls), ("reasoning_content", reasoning)):
        if found and role != "assistant":
            raise ConversationError(f"{place} is a turn of the {role} with {key}, which only turns of the assistant can have")
    message = {"role": role, "content": _text("" if content is None and calls else content, place, empty=bool(calls))}
    if reasoning and "</think>" in message["content"]:
        raise ConversationError(
            f"{place} has reasoning_content, and reasoning in <think> tags in its content; remove one of them"
        )
    if reasoning:
        message["reasoning_content"] = _text(reasoning, f"reasoning_content of {place}")
    others = {key: found for key, found in entry.items() if key not in REPLACED and found is not None}
    return {**message, **({"tool_calls": calls} if calls else {}), **others, **_loss(entry, role, place)}


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if (found := entry.get(key)) is not None:
            return found
    return None


def _loss(entry: dict[str, Any], role: str, place: str) -> dict[str, bool]:
    """``train: False`` if the keys of a message exclude it from the loss."""
    for key in LOSS_KEYS:
        value = entry.get(key)
        if value is None:
            continue
        if value not in (0, 1):
            expected = "0 or 1" if key == "weight" else "true or false"
            raise ConversationError(f"{place} has {key} {value!r}; expected {expected}")
        if value and role != "assistant":
            raise ConversationError(
                f"{place} has {key} {value!r}, but only turns of the assistant are trained; remove it there, or set "
                "data.train_on: all"
            )
        if not value:
            return {"train": False}
    return {}


def from_utterances(value: Any, column: str) -> Messages:
    """A conversation from alternating utterances of the user and the assistant, beginning with the user.

    Raises:
        ConversationError: If an utterance is not a text.
    """
    return [
        {"role": ("user", "assistant")[i % 2], "content": _text(text, f"utterance {i + 1} in column {column!r}")}
        for i, text in enumerate(_entries(value, column))
    ]


def with_system(messages: Messages, given: Any, column: str | None, default: str | None) -> Messages:
    """A conversation with its system message: its own, that of the row, or the default.

    Args:
        messages: The conversation.
        given: The system message of the row, or None.
        column: The column from which it comes.
        default: The system message of conversations that have none.

    Raises:
        ConversationError: If the row has two different ones.
    """
    if given is not None and not isinstance(given, str):
        raise ConversationError(f"column {column!r} holds {given!r}, not a text; data.system_column names the system message")
    own = messages[0]["content"] if messages[0]["role"] == "system" else None
    if given and given.strip() and own is None:
        return [{"role": "system", "content": given}, *messages]
    if given and given.strip() and str(own).strip() != given.strip():
        raise ConversationError(
            f"column {column!r} and the first message are two different system messages; remove one, or set "
            "data.system_column: null"
        )
    return [{"role": "system", "content": default}, *messages] if default and own is None else messages


def check_turns(messages: Messages) -> None:
    """Check that a conversation has a turn besides its system message, which comes first.

    Raises:
        ConversationError: If it does not.
    """
    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        raise ConversationError(f"message {roles.index('system', 1) + 1} is a system message, which may only come first")
    if roles == ["system"]:
        raise ConversationError("the conversation has no turn of the user")


def check_replies(messages: Messages, train_on: str) -> None:
    """Check that a conversation has a turn of the assistant that is trained and replies to something.

    Args:
        messages: The conversation.
        train_on: Which tokens count in the loss.

    Raises:
        ConversationError: If it does not.
    """
    replies = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    trained = [i for i in replies if is_trained(messages[i])]
    other = next((i for i, message in enumerate(messages) if i not in replies and "train" in message), None)
    if train_on == "all" and other is not None:
        raise ConversationError(
            f"message {other + 1}, a turn of the {messages[other]['role']}, is to have no loss, but with data.train_on: all "
            "only turns of the assistant can be excluded"
        )
    if not replies:
        raise ConversationError("the conversation has no turn of the assistant")
    if not trained:
        raise ConversationError("no turn of the assistant counts in the loss: each has weight 0 or train false")
    if trained[-1] == 0:
        raise ConversationError("the conversation begins with a turn of the assistant and has no other to be trained")


def through_last_reply(messages: Messages) -> Messages:
    """A conversation up to and including the assistant's last turn that is trained."""
    last = max(i for i, message in enumerate(messages) if is_trained(message))
    return messages[: last + 1]


def without_final_reply(messages: Messages) -> Messages:
    """A conversation without its last turn if that is the assistant's."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def _entries(value: Any, column: str) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConversationError(f"column {column!r} holds a list that is not valid JSON ({error})") from None
    else:
        value = compact(value)
    if value is None or value == []:
        raise ConversationError(f"the conversation in column {column!r} is empty")
    if not isinstance(value, list):
        raise ConversationError(f"column {column!r} holds {value!r}, not a list of turns")
    return value


def _text(value: Any, place: str, empty: bool = False) -> str:
    if isinstance(value, list):
        value = "".join(_part(part, place) for part in value)
    if not isinstance(value, str):
        raise ConversationError(f"{place} holds {value!r}, not a text")
    if not value.strip() and not empty:
        raise ConversationError(f"{place} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can contain half a surrogate pair, UTF-8 cannot
        raise ConversationError(f"{place} holds half a character") from None
    return value


def _part(part: Any, place: str) -> str:
    """The text of a part of a message's content, which is a text or an object with the type ``text``."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    if not isinstance(text, str) or part.get("type", "text") not in ("text", "input_text", "output_text", None):
        kind = part.get("type") if isinstance(part, dict) else part
        raise ConversationError(f"{place} has a part of type {kind!r}; only texts can be read")
    return text
