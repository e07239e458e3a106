"""The words of a text, and lexicons of synonyms."""

import json
import re
from pathlib import Path

from ftlit.data.sources.readers import READERS
from ftlit.errors import UserError

KANA_HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Han
_SPACED = re.compile(r"(\S+)(\s*)")
_UNSPACED = re.compile(rf"([{KANA_HAN}]|[^\s{KANA_HAN}]+)(\s*)")
_KANA_HAN_CHARACTER = re.compile(f"[{KANA_HAN}]")
_CORE = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)


def split_words(text: str) -> tuple[list[str], list[str]]:
    """The words of a text, and the white space after each; in Chinese and Japanese, each character is a word.

    A Chinese or Japanese text with spaces between its words is split at the spaces.
    """
    text = text.strip()
    characters = len(_KANA_HAN_CHARACTER.findall(text))
    # Separated words have less than two characters on average; a text with few spaces has them between clauses.
    unspaced = characters > 0 and (characters > 3 * len(text.split()) or len(text.split()) == 1)
    found = (_UNSPACED if unspaced else _SPACED).findall(text)
    return [word for word, _ in found], [gap for _, gap in found]


def join_words(words: list[str], gaps: list[str]) -> str:
    """The text made of words and the gaps after them, without white space at its ends."""
    return "".join(word + gap for word, gap in zip(words, gaps, strict=True)).strip()


def read_lexicon(name: str) -> tuple[dict[str, list[str]], int]:
    """The synonyms of each word in a file, and the length of the longest word.

    Raises:
        UserError: If the file does not exist, or a line is invalid.
    """
    path = Path(name)
    if not path.is_file():
        raise UserError(f"data.augment: SynonymReplacement.lexicon {name!r} does not exist")
    synonyms = _json_lexicon(path) if path.suffix.lower() == ".json" else _lexicon_lines(path)
    if not synonyms:
        raise UserError(f"data.augment: SynonymReplacement.lexicon {name!r} has no words")
    return synonyms, max(map(len, synonyms))


def _lexicon_lines(path: Path) -> dict[str, list[str]]:
    lexicon: dict[str, list[str]] = {}
    for where, row in READERS[".txt"](path):
        word, synonyms = _lexicon_line(path, where, row["text"])
        lexicon.setdefault(word, []).extend(synonyms)  # a thesaurus may have a line for each sense of a word
    return lexicon


def _lexicon_line(path: Path, where: str, line: str) -> tuple[str, list[str]]:
    word, tab, given = line.partition("\t")
    synonyms = [synonym.strip() for synonym in given.split(",") if synonym.strip()]
    if not tab or not word.strip() or not synonyms:
        raise UserError(f"{path}, {where}: expected a word, a tab and synonyms separated by commas, got {line!r:.60}")
    return word.strip(), synonyms


def _json_lexicon(path: Path) -> dict[str, list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} should contain one object from words to lists of synonyms, not a {type(content).__name__}")
    for word, synonyms in content.items():
        if not isinstance(synonyms, list) or not synonyms or not all(isinstance(s, str) and s.strip() for s in synonyms):
            raise UserError(f"{path}: the word {word!r} should have a list of synonyms, got {synonyms!r:.60}")
    return content


def compounds(words: list[str], gaps: list[str], synonyms: dict[str, list[str]], longest: int) -> tuple[list[str], list[str]]:
    """Join characters that form a word of the lexicon, by forward maximum matching."""
    starts, i = [], 0
    while i < len(words):
        starts.append(i)
        ends = range(min(i + longest, len(words)), i, -1)
        i = next((j for j in ends if "".join(words[i:j]) in synonyms and not any(gaps[i : j - 1])), i + 1)
    bounds = list(zip(starts, [*starts[1:], len(words)], strict=True))
    return ["".join(words[i:j]) for i, j in bounds], [gaps[j - 1] for _, j in bounds]


def synonyms_of(word: str, synonyms: dict[str, list[str]]) -> list[str]:
    """The synonyms that can replace a word, with its punctuation and capitalization."""
    before, core, after = _CORE.fullmatch(word).groups()  # type: ignore[union-attr]
    found = synonyms.get(core)
    if found is None:
        found = synonyms.get(core.lower(), [])
        found = [f"{synonym[0].upper()}{synonym[1:]}" for synonym in found] if core[:1].isupper() else found
    return [f"{before}{synonym}{after}" for synonym in found]
