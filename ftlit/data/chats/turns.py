"""The texts that a model learns from a conversation, and the assistant's turns in them."""

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ftlit.data.chats.checks import Checks
from ftlit.data.chats.conversations import Messages
from ftlit.data.chats.templates import Template, TemplateError, Tools, UnknownTurnError
from ftlit.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HELLO: Messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]
# Reasoning before a reply, whose first tag may be part of the prompt; and a prompt that ends with this tag.
THOUGHT, OPENED = re.compile(r".*</think>\s*", re.DOTALL), re.compile(r"<think>\s*\Z")


class Reply(NamedTuple):
    """A turn of the assistant: its characters in the text, from the end of its prompt through its closing token."""

    start: int
    end: int
    message: int  # position in the conversation


class Written(NamedTuple):
    """A text to learn from, and the turns of the assistant that it teaches."""

    text: str
    replies: list[Reply]


class ChatTemplate(Template):
    """Renders conversations as texts, and finds the assistant's turns in them.

    A turn begins at the end of the prompt for it, and ends with the token that closes it. Both positions are found by
    rendering the beginnings of the conversation, or from the template's own ``{% generation %}`` marks.

    Args:
        tokenizer: The tokenizer, for its special tokens and its own template.
        name: Name of a built-in template, a Jinja file, or None for the tokenizer's own template.
        add_bos: Whether texts begin with the token that begins texts, see `Template`.

    Raises:
        UserError: If the template does not exist, or its turns do not end with a special token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str | None = None, add_bos: bool | None = None) -> None:
        super().__init__(tokenizer, name, add_bos)
        self.special = special_tokens(tokenizer, self.source)
        self.refusal = Checks(self).refusal
        self.stop_id = self._stop_id()

    def written(self, messages: Messages, tools: Tools = None) -> list[Written]:
        """The texts that teach all turns of the assistant, each as it follows its prompt.

        That is one text, unless the template writes a turn differently when others follow it: templates of reasoning models
        leave out what was thought before. A turn that the text of a later one changes gets a text of its own.

        Raises:
            TemplateError: If the template does not accept the conversation, or the turns cannot be found.
        """
        if self.has_marks:
            return [self._marked(messages, tools)]
        found: list[Written] = []
        for i in replies_of(messages):
            text, reply = self._reply(messages, i, tools)
            earlier = found.pop().replies if found and _continues(text, found[-1]) else []
            found.append(Written(text, [*earlier, reply]))
        if found and _continues(whole := self._through(messages, tools), found[-1]):
            found[-1] = found[-1]._replace(text=whole)
        return found

    def prompt(self, written: Written, messages: Messages, reply: Reply, tools: Tools = None) -> str:
        """The text that stands before a reply, at which a model is asked for it."""
        return self.render(messages[: reply.message], True, tools) if self.has_marks else written.text[: reply.start]

    def asked(self, messages: Messages, tools: Tools = None) -> tuple[str, list[int]]:
        """The text that asks for a reply, and where the earlier replies begin that it contains unchanged.

        Raises:
            TemplateError: If the template does not accept the conversation.
        """
        text, written = self.render(messages, True, tools), self.written(messages, tools)
        known = bool(written and written[-1].replies) and _continues(text, written[-1])
        return text, [reply.start for reply in written[-1].replies] if known else []

    def _marked(self, messages: Messages, tools: Tools) -> Written:
        text, spans = self.render_marked(messages, tools)
        places = replies_of(messages)
        if len(places) != len(spans):
            if not all(messages[i].get("train", True) for i in places):
                raise UnknownTurnError(
                    f"the chat template marks {len(spans)} parts for {len(places)} turns of the assistant, so that it is "
                    "unknown which of them does not count in the loss"
                )
            places = [places[-1] if places else 0] * len(spans)
        return Written(text, [Reply(start, end, i) for (start, end), i in zip(spans, places, strict=True)])

    def _through(self, messages: Messages, tools: Tools) -> str:
        return self.render(messages, tools=tools).removesuffix(self._ending)

    def _reply(self, messages: Messages, i: int, tools: Tools) -> tuple[str, Reply]:
        """The text through a turn of the assistant, and the place of this turn in it."""
        through = self._through(messages[: i + 1], tools)
        before = self._before(messages[:i], through, str(messages[i]["content"]), tools)
        thought = thought_of(messages[i])
        if not through.startswith(before) or _stripped(thought) not in through[len(before) :]:
            through = _with_thought(before, through, thought)
        # A model stops at the closing token and never generates what follows it.
        return through, Reply(len(before), max(len(through.rstrip()), len(before)), i)

    def _before(self, earlier: Messages, through: str, content: str, tools: Tools) -> str:
        """The prompt for a turn of the assistant."""
        if earlier:
            return self.render(earlier, True, tools)
        try:
            if through.startswith(before := self.render([], True, tools)):
                return before
        except TemplateError:  # many templates look at the first message
            pass
        head = through[: through.rfind(content.strip())]
        return head[: head.rfind(self._opening) + len(self._opening)] if self._opening and self._opening in head else head

    @cached_property
    def _opening(self) -> str:
        """What the template writes at the end of a prompt, to open the assistant's turn."""
        return self.render(HELLO[:1], True).removeprefix(self.render(HELLO[:1]).removesuffix(self._ending))

    @cached_property
    def _ending(self) -> str:
        """Special tokens that the template writes at the end of a conversation, where another turn would follow."""
        try:
            alone, followed = self.render(HELLO), self.render(HELLO, True)
        except TemplateError:
            return ""
        cut = next((i for i, (one, other) in enumerate(zip(alone, followed, strict=False)) if one != other), len(alone))
        inside = (found.start() for found in self.special_pattern.finditer(alone) if found.start() < cut < found.end())
        ending = alone[next(inside, cut) :]
        return "" if self.special_pattern.sub("", ending).strip() else ending

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Matches the special tokens in a text."""
        tokens = sorted(self.special.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, tokens)) or "(?!)")

    def _stop_id(self) -> int:
        """The special token that closes the assistant's turn."""
        if refusal := self.refusal(HELLO):
            raise UserError(f"data.template: {refusal}")
        text, replies = self.written(HELLO)[-1]
        last = text[slice(*replies[-1][:2])] if replies else ""
        ids: Any = self.tokenizer(last, add_special_tokens=False)["input_ids"]
        if not ids or ids[-1] not in self.special:
            raise UserError(
                f"data.template: the chat template does not close the assistant's turn {last!r} with a special token of this "
                "tokenizer, so that the model could not learn where to stop; choose another one (`alpaca` closes with the "
                "tokenizer's own eos_token), or end the turn with {{ eos_token }} in a Jinja file"
            )
        return int(ids[-1])


def special_tokens(tokenizer: "PreTrainedTokenizerBase", source: str) -> dict[int, str]:
    """The special tokens by their ids, and the tokens of a template that were added without being declared as special."""
    named = {i: str(tokenizer.convert_ids_to_tokens(i)) for i in tokenizer.all_special_ids}
    added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
    declared = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return named | {i: token for i, token in added.items() if i in declared or (token.strip() and token in source)}


def replies_of(messages: Messages) -> list[int]:
    """The positions of the assistant's turns."""
    return [i for i, message in enumerate(messages) if message["role"] == "assistant"]


def thought_of(message: dict[str, Any]) -> str:
    """The reasoning of a message with the tags around it, or an empty text."""
    if found := THOUGHT.match(message["content"]):
        return found[0]
    return f"<think>\n{message['reasoning_content'].strip()}\n</think>\n\n" if message.get("reasoning_content") else ""


def _stripped(thought: str) -> str:
    return thought.strip().removeprefix("<think>").removesuffix("</think>").strip()


def _continues(text: str, written: Written) -> bool:
    return text.startswith(written.text[: written.replies[-1].end])


def _with_thought(before: str, through: str, thought: str) -> str:
    """The text through a turn whose reasoning the template leaves out, or whose prompt has already opened the reasoning."""
    opened = OPENED.search(before)
    base = before[: opened.start()] if opened else before
    if not through.startswith(base):
        raise UnknownTurnError(
            "the chat template renders a turn of the assistant differently from the prompt for it, so that the assistant's "
            "part is unknown; choose another data.template, or mark that part with {% generation %} and {% endgeneration %}"
        )
    rest, tag = through[len(base) :].lstrip("\n"), opened[0] if opened else ""
    if opened and rest.startswith("<think>") and _stripped(thought) in rest:  # with other white space than in the prompt
        return before + rest.removeprefix("<think>").lstrip("\n")
    if not thought:
        return f"{before}\n</think>\n\n{rest}"
    inner, rest = thought.lstrip(), rest.rpartition("</think>")[2].lstrip()
    if opened:
        inner = inner[len(tag) :] if inner.startswith(tag) else inner.removeprefix("<think>").lstrip()
    return before + inner + rest
