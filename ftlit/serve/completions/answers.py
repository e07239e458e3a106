"""Answers in the form of OpenAI's: whole, or as the events of a stream."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from ftlit.serve.completions.reply import Reply
from ftlit.serve.problems import encoded

DONE = b"data: [DONE]\n\n"


class Answer:
    """The answer to one request for prompts to be continued.

    Args:
        model: Name of the model.
    """

    prefix, whole, part = "cmpl-", "text_completion", "text_completion"

    def __init__(self, model: str) -> None:
        self.head = {"id": self.prefix + uuid.uuid4().hex, "created": int(time.time()), "model": model}

    def response(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The content of a response with all texts."""
        choices = [{**_choice(i, reply.reason), **self.text(reply.text)} for i, reply in enumerate(replies)]
        return {"object": self.whole, **self.head, "choices": choices, "usage": usage(replies)}

    def text(self, text: str) -> dict[str, Any]:
        """The part of a choice that holds a text."""
        return {"text": text}

    def piece(self, text: str) -> dict[str, Any]:
        """The part of a choice that holds a piece of a text."""
        return {"text": text}

    def opening(self) -> dict[str, Any] | None:
        """The part of the choice with which a stream begins, if it begins with one."""
        return None

    def chunk(self, i: int, part: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
        """An event of a stream about a text."""
        return {"object": self.part, **self.head, "choices": [{**_choice(i, reason), **part}], **more}

    def closing(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The event with the numbers of tokens, which ends a stream."""
        return {"object": self.part, **self.head, "choices": [], "usage": usage(replies)}


class ChatAnswer(Answer):
    """The answer to one request for a reply in a conversation."""

    prefix, whole, part = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def text(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def piece(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}

    def opening(self) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": ""}}


def _choice(i: int, reason: str | None) -> dict[str, Any]:
    return {"index": i, "logprobs": None, "finish_reason": reason}


def usage(replies: Sequence[Reply]) -> dict[str, int]:
    """The numbers of tokens of prompts and of texts, those that end texts included."""
    read, written = (sum(getattr(reply, name) for reply in replies) for name in ("prompt_tokens", "tokens"))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def event(content: dict[str, Any]) -> bytes:
    """An object as a server-sent event."""
    return b"data: " + encoded(content) + b"\n\n"
