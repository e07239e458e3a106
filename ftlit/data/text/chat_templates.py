"""Chat templates: the text of a conversation, and the assistant's parts of this text."""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError, near

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]
CharacterSpan = tuple[int, int]

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
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
        "{% else %}{{ m.content }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
    ),
}
HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]


class UnstableTemplateError(ValueError):
    """The template renders the beginning of a conversation differently when more turns follow."""


class ChatTemplate:
    """Renders conversations as texts, and finds the assistant's turns in them.

    A turn begins at the end of the prompt for it, and ends with the token that closes it. Both positions are found by
    rendering the beginnings of the conversation, or from the template's own ``{% generation %}`` marks.

    Args:
        tokenizer: The tokenizer, for its special tokens and its own template.
        name: Name of a built-in template, a Jinja file, or None for the tokenizer's own template.

    Raises:
        UserError: If the template does not exist, or its turns do not end with a special token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str | None = None) -> None:
        self.tokenizer, self.source = tokenizer, template_source(tokenizer, name)
        self.marks = bool(GENERATION.search(self.source))
        # The tokens of a chat template may have been added to the tokenizer without being declared as special.
        self.special_ids = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        self.refusal = cache(self._refusal)
        self.stop_id = self._stop_id()

    def render(self, messages: Messages, reply_follows: bool = False) -> str:
        """The text of a conversation.

        Args:
            messages: The conversation's turns.
            reply_follows: Whether the text ends with the prompt for the assistant's next turn.
        """
        return self._render(messages, reply_follows)[0]

    def turns(self, messages: Messages) -> tuple[str, list[CharacterSpan]]:
        """The text of a conversation, and the character span of each turn of the assistant.

        Raises:
            UnstableTemplateError: If the spans cannot be determined.
        """
        if self.marks:
            return self._render(messages, marks=True)
        text = self.render(messages)
        places = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        return text, [self._turn(text, messages, i) for i in places]

    def _render(self, messages: Messages, reply_follows: bool = False, marks: bool = False) -> tuple[str, list[CharacterSpan]]:
        from transformers.utils import chat_template_utils

        render: Any = chat_template_utils.render_jinja_template
        texts, spans = render(
            [messages],
            chat_template=self.source,
            add_generation_prompt=reply_follows,
            return_assistant_tokens_mask=marks,
            **self.tokenizer.special_tokens_map,
        )
        return texts[0], [(start, end) for start, end in spans[0]] if marks else []

    def _turn(self, text: str, messages: Messages, i: int) -> CharacterSpan:
        before, through = self.render(messages[:i], reply_follows=True), self.render(messages[: i + 1])
        if not text.startswith(through) or not through.startswith(before):
            raise UnstableTemplateError(
                "the chat template renders a turn differently when more turns follow, so that the assistant's part is unknown; "
                "choose another data.template, or mark that part in it with {% generation %} and {% endgeneration %}"
            )
        closing = through[max(through.rfind(messages[i]["content"].strip()), len(before)) :]
        after = len(closing) - len(closing.rstrip())  # a model stops at the closing token and never generates what follows it
        return len(before), len(through) - after

    def _refusal(self, roles: tuple[str, ...]) -> str | None:
        """Why the template rejects turns of these roles in this order, or None."""
        from jinja2 import TemplateError

        try:
            self.turns([{"role": role, "content": "Hello"} for role in roles])
        except TemplateError as error:
            return f"the chat template does not accept the turns {', '.join(roles)}: {error}"
        except UnstableTemplateError as error:
            return str(error)
        return None

    def _stop_id(self) -> int:
        """The special token that closes the assistant's turn."""
        if refusal := self.refusal(("user", "assistant")):
            raise UserError(f"data.template: {refusal}")
        text, spans = self.turns(HELLO)
        last = text[slice(*spans[-1])] if spans else ""
        ids = self.tokenizer(last, add_special_tokens=False)["input_ids"]
        if not ids or ids[-1] not in self.special_ids:
            raise UserError(
                f"data.template: the chat template does not close the assistant's turn {last!r} with a special token of this "
                "tokenizer, so that the model could not learn where to stop; choose another one (`alpaca` closes with the "
                "tokenizer's own eos_token), or end the turn with {{ eos_token }} in a Jinja file"
            )
        return int(ids[-1])


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
        return tokenizer.get_chat_template()
    if name in BUILT_IN:
        return BUILT_IN[name]
    if Path(name).is_file():
        return Path(name).read_text(encoding="utf-8")
    raise UserError(f"data.template {name!r} is neither a file nor a built-in template. {near(name, BUILT_IN)}")
