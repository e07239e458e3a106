"""Templates, such as ``{name} works as a nurse``, filled with the words of groups."""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ftlit.errors import UserError, near
from ftlit.insight.audit.texts.lexicons import Entry, Lexicon

SLOT = re.compile(r"\{([^{}]*)\}")
Template = str | dict[str, str]  # a text, or the text of each column


@dataclass(frozen=True)
class Filled:
    """A template with the words of two groups.

    Args:
        template: Number of the template.
        groups: The two groups.
        words: The two words.
        texts: The template with each of them.
        shown: The text with the change marked.
    """

    template: int
    groups: tuple[str, str]
    words: tuple[str, str]
    texts: tuple[Template, Template]
    shown: str


def slots_of(template: Template) -> list[str]:
    """Names of the slots of a template, in order."""
    texts = template.values() if isinstance(template, dict) else [template]
    return list(dict.fromkeys(name for text in texts for name in SLOT.findall(text)))


def check_template(template: Template, slots: Mapping[str, Any], where: str) -> None:
    """Check that a template has slots, and a lexicon for each.

    Raises:
        UserError: It has not.
    """
    names = slots_of(template)
    if not names:
        raise UserError(f"{where}: {template!r} has no slot such as {{name}}")
    if unknown := [name for name in names if name not in slots]:
        raise UserError(f"{where}: {template!r} has the slot {{{unknown[0]}}}, which has no lexicon. {near(unknown[0], slots)}")


def filled(templates: list[Template], slots: Mapping[str, Lexicon], count: int, rng: random.Random) -> Iterator[Filled]:
    """Fill templates with words of two groups, for each slot and each two groups of its lexicon.

    Of a lexicon with ``words``, each of one group meets one of the same kind of the other, drawn at random and the same in all
    templates; of others, the words of a pair meet. The other slots of a text are filled at random, alike in both.

    Args:
        templates: The templates.
        slots: Lexicon of each slot.
        count: The most texts of a template with the same slot and the same two groups.
        rng: Draws words.
    """
    for slot in dict.fromkeys(name for template in templates for name in slots_of(template)):
        using = [(number, template) for number, template in enumerate(templates) if slot in slots_of(template)]
        for groups in combinations(slots[slot].groups, 2):
            for words in _word_pairs(slots[slot], groups, rng)[:count]:
                for number, template in using:
                    rest = {name: rng.choice(_usable(slots[name])).word for name in slots_of(template) if name != slot}
                    yield _filled(number, template, groups, words, slot, rest)


def _usable(lexicon: Lexicon) -> list[Entry]:
    words = [entry for entry in lexicon.entries if not entry.is_paired]
    return words or list(lexicon.entries)


def _word_pairs(lexicon: Lexicon, groups: tuple[str, str], rng: random.Random) -> list[tuple[str, str]]:
    usable, found = _usable(lexicon), list[tuple[str, str]]()
    for kind in dict.fromkeys(entry.kind for entry in usable):
        one, other = ([entry.word for entry in usable if (entry.group, entry.kind) == (group, kind)] for group in groups)
        found += zip(rng.sample(one, len(one)), rng.sample(other, len(other)), strict=False)
    return rng.sample(found, len(found))


def _filled(
    number: int, template: Template, groups: tuple[str, str], words: tuple[str, str], slot: str, rest: Mapping[str, str]
) -> Filled:
    first, second, both = (_put(template, {**rest, slot: word}) for word in (*words, f"[{words[0]} → {words[1]}]"))
    shown = both if isinstance(both, str) else " / ".join(both.values())
    return Filled(number, groups, words, (first, second), shown)


def _put(template: Template, words: Mapping[str, str]) -> Template:
    if isinstance(template, dict):
        return {column: str(_put(text, words)) for column, text in template.items()}
    return SLOT.sub(lambda match: words[match[1]], template)
