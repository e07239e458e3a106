"""Answers that stand in a context: as rows give them, as characters, and as tokens."""

from typing import Any

import numpy as np

Answer = tuple[Any, Any]  # text and the character at which it begins; None where it is not known


def answers_of(value: Any, start: Any = None) -> list[Answer]:
    """The answers in a cell: none, a text, or texts with their starts, as a list of pairs or a pair of lists.

    Args:
        value: The cell.
        start: Where the answer begins, of a cell that holds one text.

    Raises:
        ValueError: The cell holds something else.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return [(value, start)]
    if isinstance(value, list) and None not in value:
        return [answer for item in value for answer in answers_of(item)]
    if not isinstance(value, dict) or "text" not in value:
        raise ValueError
    texts, starts = value["text"], value.get("answer_start")
    if not isinstance(texts, list):
        return [(texts, starts)]
    return list(zip(texts, [None] * len(texts) if starts is None else starts, strict=True))


def answer_problem(answer: Answer, context: str) -> str | None:
    """What is wrong with an answer to a question on a context, or None."""
    text, start = answer
    if not isinstance(text, str) or not text.strip():
        return f"an answer is {text!r}, which has no text; a question without answer has an empty list, or null"
    found = context.find(text)
    where = f"it begins at {found}" if found >= 0 else "it stands nowhere in the context"
    if start is None:
        return None if found >= 0 else f"the answer {text!r} stands nowhere in the context"
    if (begin := _whole(start)) is None:
        return f"the answer {text!r} begins at {start!r}, which is no position in the context; {where}"
    if (there := context[begin : begin + len(text)]) == text:
        return None
    return f"the answer {text!r} should begin at {begin} of the context, where {there!r} stands; {where}"


def _whole(start: Any) -> int | None:
    """A start as a number; a csv file has it as text."""
    try:
        return int(start) if float(start) == int(start) >= 0 else None
    except (TypeError, ValueError):
        return None


def character_span(answer: Answer, context: str) -> tuple[int, int]:
    """The characters of a context, from the first to behind the last, that an answer stands for without spaces around it."""
    text, start = answer
    begin = context.find(text) if start is None else int(start)
    return begin + len(text) - len(text.lstrip()), begin + len(text.rstrip())


def token_span(span: tuple[int, int], starts: np.ndarray, ends: np.ndarray) -> tuple[int, int] | None:
    """The first and the last token of a span of characters, or None where a window does not hold it whole.

    Args:
        span: The first character and the one behind the last.
        starts: The first character of each token of the window, ``(tokens,)``; negative for tokens outside the context.
        ends: The character behind the last of each token, ``(tokens,)``.
    """
    inside = np.flatnonzero(starts >= 0)
    if not len(inside) or span[0] < starts[inside[0]] or span[1] > ends[inside[-1]]:
        return None
    first = inside[np.searchsorted(ends[inside], span[0], side="right")]
    last = inside[np.searchsorted(starts[inside], span[1], side="left") - 1]
    return (int(first), int(last)) if first <= last else None
