"""Small changes of a text: those that should not matter to a model, and those that should."""

import random
import re
from collections.abc import Callable

from ftlit.insight.audit.texts.edits import Edit
from ftlit.metrics.language import CJK, HAS_CJK

Change = Callable[[str, random.Random], list[Edit]]

WORD = re.compile(r"(?<!\w)[A-Za-z]{4,}(?!\w)")
NUMBER = re.compile(r"(?<![\w.,])\d+(?!\w|[.,]\d)")
END = re.compile(r"[.!?。！？…]+\s*$")
VERB = re.compile(
    r"(?<!\w)(?:is|are|was|were|am|can|could|will|would|should|must|may|might|has|have|had|do|does|did)(?!\w)", re.IGNORECASE
)
NEGATED = re.compile(
    r"(?<!\w)(?:no|not|never|nothing|nobody|none|neither|nor|without|cannot|\w+n[’']t)(?!\w)|[不没无未别]", re.I
)
VERB_ZH = re.compile(rf"很(?=[{CJK}])|(?:是|会|能|可以|喜欢|值得|推荐|满意|好看|好吃|好用)")


def typo(text: str, rng: random.Random) -> list[Edit]:
    """Two adjacent letters inside a word of four or more are swapped."""
    places = [
        i
        for word in WORD.finditer(text)
        for i in range(word.start() + 1, word.end() - 2)
        if text[i].lower() != text[i + 1].lower()
    ]
    if not places:
        return []
    i = rng.choice(places)
    word = next(word for word in WORD.finditer(text) if word.start() <= i < word.end())
    new = text[word.start() : i] + text[i + 1] + text[i] + text[i + 2 : word.end()]
    return [Edit(word.start(), word.end(), new)]


def case(text: str, rng: random.Random) -> list[Edit]:
    """Capitals become small; a text without capitals gets one at its beginning."""
    lower = text.lower()
    new = lower if lower != text else text[:1].upper() + text[1:]
    same_length = len(new) == len(text)  # not so for a few letters, such as İ
    return [Edit(i, i + 1, b) for i, (a, b) in enumerate(zip(text, new, strict=True)) if a != b] if same_length else []


def punctuation(text: str, rng: random.Random) -> list[Edit]:
    """The mark at the end of a text is removed; a text without one gets one."""
    if match := END.search(text):
        return [Edit(match.start(), match.end(), "")]
    end = len(text.rstrip())
    return [Edit(end, end, "。" if HAS_CJK.search(text) else ".")] if end else []


def number(text: str, rng: random.Random) -> list[Edit]:
    """Each whole number is replaced by another one with as many digits."""
    return [Edit(match.start(), match.end(), _other(match[0], rng)) for match in NUMBER.finditer(text)]


def _other(digits: str, rng: random.Random) -> str:
    while True:
        new = rng.choice("123456789") + "".join(rng.choices("0123456789", k=len(digits) - 1))
        if new != digits:
            return new


def negation(text: str, rng: random.Random) -> list[Edit]:
    """The first verb that can be is negated; questions and texts with a negation are left alone."""
    if NEGATED.search(text) or text.rstrip().endswith(("?", "？")):
        return []
    if match := VERB.search(text):
        return [Edit(match.end(), match.end(), " NOT" if text.isupper() else " not")]
    if match := VERB_ZH.search(text):
        return [Edit(match.start(), match.end(), "不" if match[0] == "很" else f"不{match[0]}")]
    return []


def appended(text: str) -> Change:
    """The change that adds a sentence at the end of a text."""

    def append(before: str, rng: random.Random) -> list[Edit]:
        end = len(before.rstrip())
        gap = "" if HAS_CJK.search(text[:1]) else " "
        stop = "" if END.search(before) else "。" if HAS_CJK.search(before) else "."
        return [Edit(end, end, f"{stop}{gap}{text}")]

    return append


CHANGES: dict[str, Change] = {"typos": typo, "case": case, "punctuation": punctuation, "numbers": number}
DESCRIBED = {
    "typos": "two adjacent letters of a word swapped",
    "case": "capital letters made small, or a capital at the beginning",
    "punctuation": "the mark at the end removed or added",
    "numbers": "numbers replaced by others with as many digits",
    "names": "names replaced by others of the same group",
    "places": "places replaced by others of the same region",
    "negation": "a verb negated",
    "append": "a sentence added",
}
