"""Sentences of a text, as summary-level ROUGE compares them."""

import re
from functools import cache
from typing import Any

CHINESE_ENDS = re.compile("(?<=[。！？])")
# After these, a full stop does not end a sentence. Initials, numbers and ellipses are recognized by rule.
ABBREVIATIONS = (
    "adm al apr aug av ave bldg blvd capt cf cmdr co col corp cpl dec dept dr drs e.g ed eds esp est etc feb fig figs gen gov "
    "hon i.e inc jan jr jul jun lt ltd maj mar messrs mr mrs ms mt no nos nov oct op p.m a.m pp prof pvt rep reps rev sen "
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
