"""Whether a chat template takes a conversation and writes all of it."""

from typing import TYPE_CHECKING, Any

from ftlit.data.chats.conversations import Messages
from ftlit.data.chats.templates import TemplateError, Tools, in_words

if TYPE_CHECKING:
    from ftlit.data.chats.turns import ChatTemplate

Key = tuple[Any, ...]


class Checks:
    """Tries a chat template on conversations of each form once, with a marker in the place of each text.

    Args:
        template: The template.
    """

    def __init__(self, template: "ChatTemplate") -> None:
        self.template = template
        self._good: set[Key] = set()  # orders of roles, and kinds of messages, that the template takes
        self._bad: dict[Key, str] = {}

    def refusal(self, messages: Messages, tools: Tools = None) -> str | None:
        """Why the template cannot be used for conversations of this form, or None."""
        roles = tuple(message["role"] for message in messages)
        kinds = (frozenset(map(_kind, messages)), bool(tools))
        if roles in self._good and kinds in self._good:
            return None
        if (key := (roles, kinds)) not in self._bad:
            if (found := self._try(marked(messages), tools)) is None:
                self._good |= {roles, kinds}
                return None
            self._bad[key] = found
        return self._bad[key]

    def _try(self, messages: Messages, tools: Tools) -> str | None:
        try:
            texts = self._texts(messages, tools)
            without = self.template.render(messages, messages[-1]["role"] != "assistant") if tools else ""
        except TemplateError as error:
            return in_words(error, f"the turns {', '.join(message['role'] for message in messages)}")
        together = "\n".join(texts).casefold()
        for i, message in enumerate(messages):
            for what, marker in _markers(i, message).items():
                if marker not in together:
                    remedy = "name another data.template, or remove it from the data"
                    return f"the chat template leaves out {what} of message {i + 1}, a turn of the {message['role']}; {remedy}"
        if tools and texts[0] == without:
            return "the chat template leaves out the tools; name another data.template, or set data.tools: null"
        return None

    def _texts(self, messages: Messages, tools: Tools) -> list[str]:
        """The whole conversation, and the texts that teach it."""
        whole = self.template.render(messages, messages[-1]["role"] != "assistant", tools)
        taught = [written.text for written in self.template.written(messages, tools)]
        if self.template.has_marks:  # earlier reasoning may be left out where the author of the template says so
            replies = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            taught += [self.template.render(messages[: i + 1], tools=tools) for i in replies]
        return [whole, *taught]


def _kind(message: dict[str, Any]) -> Key:
    """What a template may treat differently."""
    thinks = "reasoning_content" in message, _thinks(message)
    return message["role"], bool(message["content"].strip()), min(len(message.get("tool_calls", ())), 2), *thinks


def _thinks(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and "</think>" in message["content"]


def marked(messages: Messages) -> Messages:
    """The messages with markers in the place of their texts."""
    return [_marked(i, message) for i, message in enumerate(messages)]


def _marked(i: int, message: dict[str, Any]) -> dict[str, Any]:
    said, thought, called = f"hello{i}said", f"hello{i}thought", f"hello{i}called"
    content = f"<think>\n{thought}\n</think>\n\n{said}" if _thinks(message) else said
    found = {**message, "content": content if message["content"].strip() else ""}
    if "reasoning_content" in message:
        found["reasoning_content"] = thought
    if "tool_calls" in message:
        arguments = {"word": called}
        found["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": arguments}} for call in message["tool_calls"]
        ]
    return found


def _markers(i: int, message: dict[str, Any]) -> dict[str, str]:
    """The marker of each part of a message."""
    return {
        **({"the content": f"hello{i}said"} if message["content"] else {}),
        **({"the reasoning_content": f"hello{i}thought"} if "reasoning_content" in message else {}),
        **({"the reasoning": f"hello{i}thought"} if _thinks(message) else {}),
        **({"the tool_calls": f"hello{i}called"} if "tool_calls" in message else {}),
    }
