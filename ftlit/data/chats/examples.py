"""The texts of a conversation, and the parts of them that count in the loss."""

from typing import Literal, NamedTuple

from ftlit.data.chats.conversations import Messages, is_trained, through_last_reply
from ftlit.data.chats.labels import Span
from ftlit.data.chats.rows import Chat
from ftlit.data.chats.turns import ChatTemplate, Reply, Written

TrainOn = Literal["assistant", "last", "all"]


class Example(NamedTuple):
    """A text of a conversation, the spans that count in the loss, and, with the last of the texts, the last reply.

    Args:
        row: The number of the conversation.
        written: The text.
        spans: The spans.
        last: The reply that evaluations expect, or None.
        prompt: The text before this reply.
        content: The reply in the data.
    """

    row: int
    written: Written
    spans: list[Span]
    last: Reply | None
    prompt: str
    content: str


def examples(template: ChatTemplate, chat: Chat, row: int, train_on: TrainOn) -> list[Example]:
    """The texts of a conversation that have a part in the loss.

    Raises:
        TemplateError: If the template does not accept the conversation.
    """
    messages = chat.messages
    last = len(through_last_reply(messages)) - 1
    written = template.written(*chat)
    texts = [text for text in written if any(is_trained(messages[reply.message]) for reply in text.replies)]
    expected = [reply for reply in texts[-1].replies if reply.message == last][-1]
    prompt = template.prompt(texts[-1], messages, expected, chat.tools)
    texts = texts if train_on == "assistant" else texts[-1:]
    spans = [_spans(text, messages, expected, train_on) for text in texts]
    early = [Example(row, *parts, None, "", "") for parts in zip(texts[:-1], spans[:-1], strict=True)]
    return [*early, Example(row, texts[-1], spans[-1], expected, prompt, str(messages[last]["content"]))]


def _spans(written: Written, messages: Messages, expected: Reply, train_on: TrainOn) -> list[Span]:
    if train_on == "last":
        return [expected[:2]]
    if train_on == "assistant":
        return [reply[:2] for reply in written.replies if is_trained(messages[reply.message])]
    without = [reply[:2] for reply in written.replies if not is_trained(messages[reply.message])]
    edges = [0, *(edge for span in without for edge in span), len(written.text)]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
