"""Entities in tagged sentences, and their scores as of CoNLL-2000 (conlleval) and seqeval."""

from collections import Counter
from itertools import pairwise
from typing import Any, Literal

from ftlit.errors import UserError
from ftlit.metrics.per_class import scores_of

Span = tuple[str, int, int]
Scheme = Literal["IOB1", "IOB2", "BIOES", "IO"]

# What a prefix means: BILOU writes L and U, and BMES writes M, for what BIOES calls E, S and I.
PREFIXES: dict[str, dict[str, str]] = {
    "IOB1": {"B": "B", "I": "I"},
    "IOB2": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I"},
    "IO": {"I": "I"},
}


def check_tags(tags: list[str], scheme: Scheme = "IOB2") -> str | None:
    """What is wrong with the first tag that is not of the scheme, in one sentence, or None."""
    known = PREFIXES[scheme]
    for i, tag in enumerate(tags):
        prefix, dash, label = tag.partition("-")
        if tag == "O" or (prefix in known and label):
            continue
        if not dash or not label:
            return f"token {i} has the tag {tag!r}, which is neither 'O' nor a prefix and a type such as 'I-PER'"
        others = [name for name, prefixes in PREFIXES.items() if prefix in prefixes]
        hint = f"; {' and '.join(others)} {'has' if len(others) == 1 else 'have'} it" if others else ""
        return f"token {i} has the tag {tag!r}, but the prefixes of {scheme} are {', '.join(known)}{hint}"
    return None


def entities(tags: list[str], scheme: Scheme = "IOB2") -> list[Span]:
    """Type, first token and end (exclusive) of each entity in a sentence.

    Lenient as conlleval: a tag that cannot continue the entity before it starts a new one, whatever its prefix. So the
    schemes are read alike, and differ in the prefixes that they have.

    Raises:
        UserError: A tag is not of the scheme.
    """
    if wrong := check_tags(tags, scheme):
        raise UserError(wrong)
    meaning = {**PREFIXES[scheme], "O": "O"}
    parts = [("O", ""), *((meaning[prefix], label) for prefix, _, label in (tag.partition("-") for tag in tags))]
    found: list[Span] = []
    for i, (before, (prefix, label)) in enumerate(pairwise(parts)):
        if prefix in ("I", "E") and before in (("B", label), ("I", label)):
            found[-1] = (label, found[-1][1], i + 1)
        elif prefix != "O":
            found.append((label, i, i + 1))
    return found


def iob2_tags(spans: list[Span], length: int) -> list[str]:
    """The tags of a sentence of `length` tokens.

    Raises:
        UserError: Two entities share a token, or one is empty or ends behind the sentence.
    """
    tags = ["O"] * length
    for label, start, end in spans:
        if not 0 <= start < end <= length:
            raise UserError(f"the entity {label!r} from token {start} to {end} does not lie in a sentence of {length} tokens")
        if any(tag != "O" for tag in tags[start:end]):
            raise UserError(f"the entity {label!r} from token {start} to {end} overlaps another; tags cannot hold both")
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def to_iob2(tags: list[str], scheme: Scheme) -> list[str]:
    """The same entities in IOB2, where each starts with B."""
    return iob2_tags(entities(tags, scheme), len(tags))


def span_scores(predicted: list[list[Span]], gold: list[list[Span]]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each entity type, and their averages.

    An entity is right where its type, start and end are; the same entity given twice counts once.

    Args:
        predicted: Entities found in each sentence.
        gold: True entities of each sentence.

    Returns:
        A row for each type in `predicted` or `gold`, sorted, then ``micro``, ``macro`` and ``weighted``: see `scores_of`.
    """
    hits, false, missed = Counter[str](), Counter[str](), Counter[str]()
    for found, true in zip(map(set, predicted), map(set, gold), strict=True):
        hits.update(span[0] for span in found & true)
        false.update(span[0] for span in found - true)
        missed.update(span[0] for span in true - found)
    return scores_of([(name, hits[name], false[name], missed[name]) for name in sorted({*hits, *false, *missed})])


def token_accuracy(predicted: list[list[str]], gold: list[list[str]]) -> float:
    """Share of tokens with the right tag, over all sentences; 0 where there is no token."""
    pairs = [pair for row in zip(predicted, gold, strict=True) for pair in zip(*row, strict=True)]
    return sum(one == other for one, other in pairs) / (len(pairs) or 1)
