"""Chat templates: those that come with the package, files, and the tokenizer's own; and how they are rendered."""

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.data.chats.conversations import Messages
from ftlit.data.chats.tool_calls import with_text_arguments
from ftlit.errors import UserError, near

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tools = list[dict[str, Any]] | None
CharacterSpan = tuple[int, int]

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
BEGINNING = "{{ bos_token }}"
BUILT_IN = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama2": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] "
        "{% if loop.previtem is defined and loop.previtem.role == 'system' %}"
        "<<SYS>>\n{{ loop.previtem.content }}\n<</SYS>>\n\n{% endif %}{{ m.content }} [/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
        "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "alpaca": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n"
        "{% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n### Response:\n"
        "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
    ),
}
# What a template may raise. Most are errors of Jinja, or of Python on a value of another kind than the template expects.
FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class TemplateError(ValueError):
    """A template cannot render a conversation; the message says why."""


class UnknownTurnError(TemplateError):
    """The template renders a conversation, but it cannot be known which part of the text is the assistant's."""


def in_words(error: TemplateError, conversation: str) -> str:
    """What is wrong, for an error message; `conversation` says of which conversation the template cannot make a text."""
    if isinstance(error, UnknownTurnError):
        return str(error)
    return f"the chat template does not accept {conversation}: {error}"


class Template:
    """A chat template: messages, and the tools that are at hand, become a text.

    Args:
        tokenizer: The tokenizer, for its special tokens and its own template.
        name: Name of a built-in template, a Jinja file, or None for the tokenizer's own template.
        add_bos: Whether texts begin with the token that begins texts. None follows the tokenizer, unless the template is its
            own.

    Raises:
        UserError: If the template does not exist, or the tokenizer has no token that begins texts.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str | None = None, add_bos: bool | None = None) -> None:
        self.tokenizer, self.source = tokenizer, template_source(tokenizer, name)
        self.has_marks = bool(GENERATION.search(self.source))
        if add_bos and tokenizer.bos_token is None:
            raise UserError("data.add_bos is true, but the tokenizer of model.backbone has no bos_token")
        if add_bos or (add_bos is None and name is not None and begins_texts(tokenizer)):
            self._begin()

    def _begin(self) -> None:
        """Let texts begin with the token that begins texts, if they do not yet."""
        try:
            begun = self.render([{"role": "user", "content": "Hello"}]).startswith(str(self.tokenizer.bos_token))
        except TemplateError:
            return
        self.source = self.source if begun else BEGINNING + self.source

    def render(self, messages: Messages, reply_follows: bool = False, tools: Tools = None) -> str:
        """The text of a conversation.

        Args:
            messages: The conversation's turns.
            reply_follows: Whether the text ends with the prompt for the assistant's next turn.
            tools: Descriptions of the tools that the assistant may call.

        Raises:
            TemplateError: If the template does not accept the conversation.
        """
        return self._render(self._given(messages), reply_follows, tools)[0]

    def render_marked(self, messages: Messages, tools: Tools = None) -> tuple[str, list[CharacterSpan]]:
        """The text of a conversation, and the spans that the template marks as those of the assistant."""
        return self._render(self._given(messages), tools=tools, marks=True)

    def _given(self, messages: Messages) -> Messages:
        called = any("tool_calls" in message for message in messages)
        return [with_text_arguments(message) for message in messages] if called and self._takes_text_arguments else messages

    @cached_property
    def _takes_text_arguments(self) -> bool:
        """Whether the template writes the arguments of calls as they are, so that they must be JSON texts."""
        call = {"id": "call00001", "type": "function", "function": {"name": "find", "arguments": {"word": "Hello"}}}
        messages: Messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        try:
            return "{'word': 'Hello'}" in self._render(messages)[0]
        except TemplateError:
            return True

    def _render(
        self, messages: Messages, reply_follows: bool = False, tools: Tools = None, marks: bool = False
    ) -> tuple[str, list[CharacterSpan]]:
        from jinja2 import TemplateError as JinjaError
        from transformers.utils import chat_template_utils

        render: Any = chat_template_utils.render_jinja_template
        try:
            texts, spans = render(
                [messages],
                tools=tools or None,
                chat_template=self.source,
                add_generation_prompt=reply_follows,
                return_assistant_tokens_mask=marks,
                **self.tokenizer.special_tokens_map,
            )
        except (JinjaError, *FAILURES) as error:
            raise TemplateError(_one_line(error)) from error
        return texts[0], [(start, end) for start, end in spans[0]] if marks else []


def _one_line(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", None) or error).split()) or type(error).__name__
    line = getattr(error, "lineno", None)
    return f"{text} (line {line} of the template)" if line else text


def begins_texts(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokenizer begins texts with the token that begins texts."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def template_source(tokenizer: "PreTrainedTokenizerBase", name: str | None) -> str:
    """The Jinja source of a template.

    Raises:
        UserError: If there is no template of this name, or the tokenizer has no template.
    """
    if name is None:
        if not tokenizer.chat_template:
            raise UserError(
                "the tokenizer of model.backbone has no chat template; set data.template to one of "
                f"{', '.join(BUILT_IN)}, or to a Jinja file"
            )
        try:
            return tokenizer.get_chat_template()
        except ValueError:  # several, none of which is the default
            names = ", ".join(tokenizer.chat_template)
            raise UserError(
                f"the tokenizer of model.backbone has the chat templates {names}; name a file in data.template"
            ) from None
    if name in BUILT_IN:
        return BUILT_IN[name]
    if Path(name).is_file():
        try:
            return Path(name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as error:
            raise UserError(f"data.template {name!r} cannot be read as UTF-8: {error}") from None
    raise UserError(f"data.template {name!r} is neither a file nor a built-in template. {near(name, BUILT_IN)}")
