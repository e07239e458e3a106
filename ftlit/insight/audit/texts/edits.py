"""Edits of texts, and of all texts of a row at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_TEXT = ("role", "from", "id")  # keys inside a cell, such as a list of messages, whose values are names
SHOWN = 160  # characters of an edited text that a report shows
AROUND = 60  # of these, before the first edit


@dataclass(frozen=True)
class Edit:
    """A part of a text that is replaced.

    Args:
        start: Position of its first character.
        end: Position behind its last character; `start` for an insertion.
        text: The replacement.
    """

    start: int
    end: int
    text: str


Find = Callable[[str], Sequence[Edit]]


@dataclass(frozen=True)
class Variant:
    """A row with edited texts.

    Args:
        row: The edited row.
        shown: The edited text with each change as ``[old → new]``, shortened.
        words: The replacements by the words that they replaced.
    """

    row: dict[str, Any]
    shown: str
    words: dict[str, str] = field(default_factory=dict)


def edited(text: str, edits: Sequence[Edit]) -> str:
    """A text with edits, which are in order and do not overlap."""
    return _joined(text, [(edit, edit.text) for edit in edits])


def marked(text: str, edits: Sequence[Edit]) -> str:
    """A text that shows its edits as ``[old → new]``, shortened around the first of them."""
    whole = _joined(text, [(edit, _mark(text[edit.start : edit.end], edit.text)) for edit in edits])
    start = max(0, edits[0].start - AROUND) if edits else 0
    part = whole[start : start + SHOWN]
    return f"{'…' if start else ''}{part}{'…' if start + SHOWN < len(whole) else ''}"


def _mark(old: str, new: str) -> str:
    return f"[{old} → {new}]" if old and new else f"[+ {new}]" if new else f"[− {old}]"


def _joined(text: str, parts: Sequence[tuple[Edit, str]]) -> str:
    found, place = [], 0
    for edit, new in parts:
        found += [text[place : edit.start], new]
        place = edit.end
    return "".join([*found, text[place:]])


def variant(row: dict[str, Any], find: Find, only: str | None = None) -> Variant | None:
    """A row whose texts are edited, in its columns and in the lists and messages inside them.

    Where a cell names a place in the row's first text, as entities do, the place moves along.

    Args:
        row: The columns of the row.
        find: Returns the edits of a text, in order.
        only: The column whose texts are edited; by default all.

    Returns:
        The edited row; None if there is nothing to edit, or if an edit cuts into a named place.
    """
    walk = _Walk(find)
    changed = {name: walk.over(value, name) if only in (None, name) else value for name, value in row.items()}
    if not walk.shown:
        return None
    main = next((name for name, value in row.items() if isinstance(value, str)), None)
    moved = {name: _moved(value, walk.edits.get(main, [])) if _is_place(value) else value for name, value in changed.items()}
    if None in (moved[name] for name, value in changed.items() if value is not None):
        return None
    return Variant(moved, " … ".join(walk.shown[:3]), walk.words)


class _Walk:
    """Edits every text of a row, and keeps what it did."""

    def __init__(self, find: Find) -> None:
        self.find, self.edits = find, dict[Any, Sequence[Edit]]()
        self.shown, self.words = list[str](), dict[str, str]()

    def over(self, value: Any, key: Any) -> Any:
        """The edited value of a column, or of a part of it."""
        if isinstance(value, list):
            return [self.over(inner, None) for inner in value]
        if isinstance(value, dict):
            return {name: inner if name in NOT_TEXT else self.over(inner, None) for name, inner in value.items()}
        if not isinstance(value, str) or not (edits := self.find(value)):
            return value
        self.edits[key] = edits
        self.shown.append(marked(value, edits))
        self.words |= {value[edit.start : edit.end]: edit.text for edit in edits if edit.start < edit.end}
        return edited(value, edits)


def _is_place(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("start"), int) and isinstance(value.get("end"), int)


def _moved(place: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any] | None:
    """A place in a text, after the edits of the text; None if one of them cuts into it."""
    start, end = place["start"], place["end"]
    if any(edit.start < end and start < edit.end and not start <= edit.start <= edit.end <= end for edit in edits):
        return None
    grown = [(edit, len(edit.text) - (edit.end - edit.start)) for edit in edits]
    before = sum(by for edit, by in grown if edit.end <= start)
    inside = sum(by for edit, by in grown if start <= edit.start and edit.end <= end and edit.end > start)
    return {**place, "start": start + before, "end": end + before + inside}
