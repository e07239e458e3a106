"""Rows with the words of one group of a lexicon in the place of another's."""

import random
from dataclasses import dataclass
from typing import Any

from ftlit.insight.audit.texts.edits import Edit, Variant, variant
from ftlit.insight.audit.texts.lexicons import Entry, Found, Lexicon, like


def texts_in(value: Any) -> list[str]:
    """All texts in a row or a cell."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in texts_in(part)]


def words_in(row: dict[str, Any], lexicon: Lexicon) -> list[Entry]:
    """The words of a lexicon in all texts of a row."""
    return [found.entry for text in texts_in(row) for found in lexicon.find(text)]


def other_groups(words: list[Entry], lexicon: Lexicon) -> list[str]:
    """The groups that have a word in the place of each of some words of one group."""
    groups = [group for group in lexicon.groups if group != words[0].group]
    return [group for group in groups if all(lexicon.of(group, word.kind) for word in words)]


def substituted(row: dict[str, Any], lexicon: Lexicon, group: str, rng: random.Random) -> Variant | None:
    """A row in which words of `group` take the place of the other groups' words; None if it has none of these.

    A word is replaced by the same one throughout, two different words by different ones where there are enough.
    """
    return variant(row, _Swap(lexicon, group, rng))


def renamed(row: dict[str, Any], lexicon: Lexicon, rng: random.Random) -> Variant | None:
    """A row with other words of the same group and kind, such as another name; None if it has no word with an alternative."""
    return variant(row, _Swap(lexicon, None, rng))


@dataclass
class _Swap:
    """Finds the edits of a text that put words of another group into it, or other words of the same group."""

    lexicon: Lexicon
    group: str | None
    rng: random.Random

    def __post_init__(self) -> None:
        self.chosen: dict[Entry, str] = {}

    def __call__(self, text: str) -> list[Edit]:
        return [edit for found in self.lexicon.find(text) if (edit := self._edit(text, found)) is not None]

    def _edit(self, text: str, found: Found) -> Edit | None:
        new = self._replacement(found.entry)
        return None if new is None else Edit(found.start, found.end, like(new, text[found.start : found.end]))

    def _replacement(self, entry: Entry) -> str | None:
        if entry.group == self.group or (self.group is None and entry.is_paired):
            return None
        if entry not in self.chosen:
            words = [other.word for other in self.lexicon.of(self.group or entry.group, entry.kind) if other.word != entry.word]
            if not words:
                return None
            unused = [word for word in words if word not in self.chosen.values()]
            self.chosen[entry] = self.rng.choice(unused or words)
        return self.chosen[entry]
