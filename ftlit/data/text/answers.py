"""Answers that are spans of a context: in rows, in characters, and in tokens."""

from typing import Any

import numpy as np

from ftlit.data.rows.cells import whole_number

Answer = tuple[Any, Any]  # the text, and the character at which it begins, or None if unknown


def answers_of(value: Any, start: Any = None) -> list[Answer]:
    """The answers in a cell, which is empty, a text, or texts with starts as a list of pairs or a pair of lists.

    Args:
        value: The cell.
        start: Start of the answer, if the cell holds one text.

    Raises:
        ValueError: If the cell holds something else.
    """
    if value is None or value == "":  # the empty cell of a csv
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
    """What is wrong with an answer to a question about a context, or None. A start may be wrong, if it is a position."""
    text, start = answer
    if found := text_problem_of(answer):
        return found
    first = context.find(text)
    where = f"it begins at {first}" if first >= 0 else "it does not occur in the context"
    if start is not None and _position(start) is None:
        return f"the answer {text!r} begins at {start!r}, which is not a position in the context; {where}"
    if first >= 0:
        return None
    if start is None:
        return f"the answer {text!r} does not occur in the context"
    begin = _position(start) or 0
    there = context[begin : begin + len(text)]
    return f"the answer {text!r} should begin at {begin} of the context, but {there!r} is found there; {where}"


def text_problem_of(answer: Answer) -> str | None:
    """What is wrong with the text of an answer, or None."""
    text = answer[0]
    if not isinstance(text, str) or not text.strip():
        return f"an answer is {text!r}, which has no text; a question without answer has an empty list, or null"
    return None


def _position(start: Any) -> int | None:
    """A start as a number; it may be a text from a csv file."""
    found = whole_number(start)
    return found if found is not None and found >= 0 else None


def begin_of(answer: Answer, context: str) -> int | None:
    """The character at which an answer begins: its start, or the nearest place of its text, or None."""
    text, start = answer
    place = _position(start) or 0
    places = {context.rfind(text, 0, place + len(text)), context.find(text, place)} - {-1}
    return min(places, key=lambda found: (abs(found - place), found), default=None)


def is_moved(answer: Answer, context: str) -> bool:
    """Whether an answer does not begin at its start."""
    return answer[1] is not None and begin_of(answer, context) != _position(answer[1])


def character_span(answer: Answer, context: str) -> tuple[int, int] | None:
    """Start and end of an answer in the characters of a context, without spaces around it; the end is exclusive.

    None if its text does not occur in the context.
    """
    text, begin = answer[0], begin_of(answer, context)
    return None if begin is None else (begin + len(text) - len(text.lstrip()), begin + len(text.rstrip()))


def token_span(span: tuple[int, int], starts: np.ndarray, ends: np.ndarray) -> tuple[int, int] | None:
    """The first and the last token of a span of characters, or None if the window does not contain the whole span.

    Args:
        span: Start and exclusive end in characters.
        starts: Start of each token of the window, ``(tokens,)``; negative for tokens outside the context.
        ends: Exclusive end of each token, ``(tokens,)``.
    """
    inside = np.flatnonzero(starts >= 0)
    if not len(inside) or span[0] < starts[inside[0]] or span[1] > ends[inside[-1]]:
        return None
    first = inside[np.searchsorted(ends[inside], span[0], side="right")]
    last = inside[np.searchsorted(starts[inside], span[1], side="left") - 1]
    return (int(first), int(last)) if first <= last else None
