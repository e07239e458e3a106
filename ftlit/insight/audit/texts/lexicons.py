"""Lexicons: words of groups that can take each other's place, such as the names of women and men."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftlit.errors import UserError, near
from ftlit.metrics.language import HAS_CJK, mostly
from ftlit.util.arguments.types import settings_object
from ftlit.util.settings import read_yaml

HERE = Path(__file__).parent / "lexicons"
LANGUAGES = ("en", "zh")
PAIR = "pair "  # begins the kinds of words that are one of a pair
FOLLOWED = " +"  # ends a word that counts only before another word that is not a function word
FUNCTION_WORDS = (
    "a about after again all also an and any are as at be because been before but by can could did do does during each "
    "even for from had has have how if in into is it its just like may might more most must never no not now of off on "
    "once one only or out over said should since so some still than that the their them then there these they this those "
    "though through to too under until up very was well were what when where which while who why will with would yet"
)
GAP = rf"(?=\s+(?!(?:{FUNCTION_WORDS.replace(' ', '|')})\b)\w)"


@dataclass(frozen=True)
class LexiconFile:
    """What a lexicon file holds.

    Args:
        groups: Names of the groups.
        language: `en` or `zh`; decides whether words are separated by spaces.
        pairs: Words that replace each other, one of each group, in the order of the groups.
        words: Further words of each group: a list, or lists by kind. A word is replaced by any of the same kind.
        exceptions: Longer words that contain a word by chance, and are left as they are.
        name: Name of the lexicon in the report.
    """

    groups: list[str]
    language: str = "en"
    pairs: list[Any] | None = None
    words: dict[str, Any] | None = None
    exceptions: list[str] | None = None
    name: str | None = None


@dataclass(frozen=True)
class Entry:
    """A word of a lexicon.

    Args:
        word: The word.
        group: The group that it belongs to.
        kind: Its kind; words of a pair are a kind of their own.
        followed: Whether it counts only before another word.
    """

    word: str
    group: str
    kind: str
    followed: bool = False

    @property
    def is_paired(self) -> bool:
        """Whether the word is one of a pair."""
        return self.kind.startswith(PAIR)


@dataclass(frozen=True)
class Found:
    """A word of a lexicon in a text.

    Args:
        start: Position of its first character.
        end: Position behind its last character.
        entry: The word of the lexicon.
    """

    start: int
    end: int
    entry: Entry


@dataclass(frozen=True)
class Lexicon:
    """Words of groups.

    Args:
        name: Name of the lexicon.
        groups: The groups.
        entries: All words.
        exceptions: Longer words that contain a word by chance.
        spaced: Whether words are separated by spaces.
    """

    name: str
    groups: tuple[str, ...]
    entries: tuple[Entry, ...]
    exceptions: tuple[str, ...] = ()
    spaced: bool = True

    def of(self, group: str, kind: str) -> list[Entry]:
        """The words of a group and a kind."""
        return self._by_kind.get((group, kind), [])

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str], list[Entry]]:
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            found.setdefault((entry.group, entry.kind), []).append(entry)
        return found

    @cached_property
    def _ordered(self) -> list[Entry]:
        """The words as they are tried: long ones first, and before others those that need a word behind them."""
        return sorted(self.entries, key=lambda entry: (-len(entry.word), not entry.followed))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        before, behind = (r"(?<!\w)", r"(?!\w)") if self.spaced else ("", "")
        words = "|".join(f"({re.escape(entry.word)}{behind}{GAP if entry.followed else ''})" for entry in self._ordered)
        skipped = "|".join(map(re.escape, sorted(self.exceptions, key=len, reverse=True)))
        return re.compile(f"{before}(?:{skipped}{'|' if skipped else ''}{words})", re.IGNORECASE)

    def find(self, text: str) -> list[Found]:
        """The words in a text, in order.

        Words that the lexicon writes with a capital letter have one in the text, too, unless the whole text has none.
        """
        cased = text != text.lower()
        found = []
        for match in self._pattern.finditer(text):
            if match.lastindex is None:
                continue
            entry = self._ordered[match.lastindex - 1]
            if not (cased and entry.word[0].isupper() and match[0][0].islower()):
                found.append(Found(match.start(), match.end(), entry))
        return found


def like(word: str, model: str) -> str:
    """A word with the capitals of another one, whose place it takes."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    if model == model.lower() != model.upper():
        return word.lower()
    return word[0].upper() + word[1:] if model[0].isupper() else word


def language_of(texts: Iterable[str]) -> str:
    """`zh` if most texts have Chinese characters, else `en`."""
    return "zh" if mostly(HAS_CJK, ([text] for text in texts)) else "en"


def lexicon(given: Any, where: str, language: str) -> Lexicon:
    """A lexicon by its name in the package, by file, or as its content.

    Args:
        given: Such as ``gender``, ``en/gender``, ``my_words.yaml``, or the content of such a file.
        where: The setting that names it, for messages.
        language: The language of a name without one.

    Raises:
        UserError: There is none, or it is no lexicon.
    """
    if isinstance(given, dict):
        return _read(given, where, str(given.get("name") or where.rpartition(".")[2]))
    name = str(given)
    if name.endswith((".yaml", ".yml")):
        return _read(read_yaml(Path(name).expanduser()), f"{where}: {name}", Path(name).stem)
    path = HERE / f"{name if '/' in name else f'{language}/{name}'}.yaml"
    own = [known.partition("/")[2] for known in built_in(language)]
    if name not in [*built_in(), *own]:
        raise UserError(f"{where}: no lexicon {name!r}. {near(name, own)} A file of your own ends in .yaml")
    return _read(read_yaml(path), str(path), path.stem)


def built_in(language: str | None = None) -> list[str]:
    """Names of the lexicons in the package, such as ``en/gender``."""
    return [f"{path.parent.name}/{path.stem}" for path in sorted(HERE.glob(f"{language or '*'}/*.yaml"))]


def _read(given: dict[str, Any], where: str, name: str) -> Lexicon:
    file = settings_object(LexiconFile, where, given)
    if file.language not in LANGUAGES:
        raise UserError(f"{where}: language is {file.language!r}. {near(file.language, LANGUAGES)}")
    if len(set(file.groups)) < 2:
        raise UserError(f"{where}: groups should name two or more groups of words, got {file.groups}")
    entries = [*_pairs(file, where), *_words(file, where)]
    if empty := [group for group in file.groups if not any(entry.group == group for entry in entries)]:
        raise UserError(f"{where}: the group {empty[0]!r} has no words")
    return Lexicon(file.name or name, tuple(file.groups), tuple(entries), tuple(file.exceptions or ()), file.language == "en")


def _pairs(file: LexiconFile, where: str) -> list[Entry]:
    found = []
    for i, words in enumerate(file.pairs or []):
        if not isinstance(words, list) or len(words) != len(file.groups) or not all(_is_word(word) for word in words):
            raise UserError(f"{where}: a pair should list a word for each of {', '.join(file.groups)}, got {words!r}")
        found += [_entry(word, group, f"{PAIR}{i}") for group, word in zip(file.groups, words, strict=True)]
    return found


def _words(file: LexiconFile, where: str) -> list[Entry]:
    found = []
    for group, given in (file.words or {}).items():
        if group not in file.groups:
            raise UserError(f"{where}: words has the group {group!r}. {near(str(group), file.groups)}")
        for kind, words in (given if isinstance(given, dict) else {"": given}).items():
            if not isinstance(words, list) or not words or not all(_is_word(word) for word in words):
                raise UserError(
                    f"{where}: words.{group} should list words, got {words!r:.60}; put true, false and numbers in quotes"
                )
            found += [_entry(word, group, str(kind)) for word in words]
    return found


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and bool(word.strip()) and word.strip() != FOLLOWED.strip()


def _entry(word: str, group: str, kind: str) -> Entry:
    return Entry(word.strip().removesuffix(FOLLOWED), group, kind, word.strip().endswith(FOLLOWED))
