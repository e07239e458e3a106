"""The script that the texts of a data set are in, and the sentences of a text."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

# Han characters and kana, which are written without spaces. Their punctuation is outside these ranges.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
HAS_CJK = re.compile(f"[{CJK}]")
HAS_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d]")


def mostly(letter: re.Pattern[str], references: Iterable[Iterable[str]]) -> bool:
    """Whether more than half of the reference texts of all rows contain a character that matches."""
    texts = [text for row in references for text in row]
    return sum(bool(letter.search(text)) for text in texts) * 2 > len(texts)


CHINESE_ENDS = re.compile("(?<=[。！？])")
# After these, a full stop does not end a sentence. Initials, numbers and ellipses are recognized by rule.
ABBREVIATIONS = (
    "adm al apr aug av ave bldg blvd capt cf cmdr co col corp cpl dec dept dr drs e.g ed eds esp est etc feb fig figs gen gov "
    "hon i.e inc jan jr jul jun lt ltd maj mar messrs mr mrs ms mt nov oct op p.m a.m pp prof pvt rep reps rev sen "
    "sens sep sept sgt sr st u.k u.n u.s u.s.a vol vols vs"
)


@cache
def _splitter() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    known = PunktParameters()
    known.abbrev_types = set(ABBREVIATIONS.split())
    return PunktSentenceTokenizer(known)


def punkt(text: str) -> list[str]:
    """Split a text into sentences by the algorithm Punkt (Kiss and Strunk, 2006).

    The trained tables of nltk would have to be downloaded, so a list of English abbreviations takes their place.
    """
    return list(_splitter().tokenize(text.strip()))


def sentences(text: str) -> list[str]:
    """Split a text into its lines if it has several, otherwise into sentences: by Punkt, and at Chinese full stops."""
    lines = [line for line in text.split("\n") if line.strip()]
    return lines if len(lines) > 1 else [found for part in CHINESE_ENDS.split(text) for found in punkt(part)]
