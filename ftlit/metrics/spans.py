"""Entities in tagged sentences, scored like CoNLL-2000 (conlleval) and seqeval."""

from collections import Counter
from itertools import pairwise
from typing import Any, Literal

from ftlit.errors import UserError
from ftlit.metrics.per_class import scores_of

Span = tuple[str, int, int]
Scheme = Literal["IOB1", "IOB2", "BIO", "BIOES", "IOBES", "BILOU", "BMES", "BMEOS", "IO"]

# Meaning of prefixes. BILOU uses L and U, and BMES uses M, instead of E, S and I in BIOES, which takes them all.
MAIN: dict[str, dict[str, str]] = {
    "IOB1": {"B": "B", "I": "I"},
    "IOB2": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I"},
    "IO": {"I": "I"},
}
PREFIXES: dict[str, dict[str, str]] = {
    **MAIN,
    "BIO": MAIN["IOB2"],
    "IOBES": MAIN["BIOES"],
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BMEOS": {"B": "B", "M": "I", "E": "E", "S": "S"},
}


def check_tags(tags: list[str], scheme: Scheme = "IOB2") -> str | None:
    """Describe the first tag that does not belong to the scheme. Return None if all tags do."""
    known = PREFIXES[scheme]
    for i, tag in enumerate(tags):
        prefix, dash, label = tag.partition("-")
        if tag == "O" or (prefix in known and label):
            continue
        if not dash or not label:
            return f"token {i} has the tag {tag!r}, which is neither 'O' nor a prefix and a type such as 'I-PER'"
        others = [name for name, prefixes in MAIN.items() if prefix in prefixes]
        hint = f"; {' and '.join(others)} {'has' if len(others) == 1 else 'have'} it" if others else ""
        return f"token {i} has the tag {tag!r}, but the prefixes of {scheme} are {', '.join(known)}{hint}"
    return None


def entities(tags: list[str], scheme: Scheme = "IOB2") -> list[Span]:
    """Return type, first token and end (exclusive) of each entity in a sentence.

    As in conlleval, a tag that cannot continue the previous entity starts a new one, whatever its prefix. All schemes are
    read in the same way and differ only in their prefixes.

    Raises:
        UserError: If a tag does not belong to the scheme.
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
    """Return the IOB2 tags of a sentence with `length` tokens.

    Raises:
        UserError: If two entities overlap, or one is empty or not inside the sentence.
    """
    tags = ["O"] * length
    for label, start, end in spans:
        if not 0 <= start < end <= length:
            raise UserError(f"the entity {label!r} from token {start} to {end} is not inside a sentence of {length} tokens")
        if any(tag != "O" for tag in tags[start:end]):
            raise UserError(
                f"the entity {label!r} from token {start} to {end} overlaps another entity; tags cannot represent both"
            )
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def to_iob2(tags: list[str], scheme: Scheme) -> list[str]:
    """Convert tags to IOB2, where every entity starts with B."""
    return iob2_tags(entities(tags, scheme), len(tags))


def span_scores(predicted: list[list[Span]], gold: list[list[Span]]) -> list[dict[str, Any]]:
    """Compute precision, recall, F1 and support of each entity type, and their averages.

    An entity is correct if its type, start and end are. Duplicates count once.

    Args:
        predicted: Predicted entities of each sentence.
        gold: True entities of each sentence.

    Returns:
        A row for each type, sorted by name, then ``micro``, ``macro`` and ``weighted``; see `scores_of`.
    """
    hits, false, missed = Counter[str](), Counter[str](), Counter[str]()
    for found, true in zip(map(set, predicted), map(set, gold), strict=True):
        hits.update(span[0] for span in found & true)
        false.update(span[0] for span in found - true)
        missed.update(span[0] for span in true - found)
    return scores_of([(name, hits[name], false[name], missed[name]) for name in sorted({*hits, *false, *missed})])


def token_accuracy(predicted: list[list[str]], gold: list[list[str]]) -> float:
    """Return the fraction of tokens with the correct tag over all sentences, or 0 if there are no tokens."""
    pairs = [pair for row in zip(predicted, gold, strict=True) for pair in zip(*row, strict=True)]
    return sum(one == other for one, other in pairs) / (len(pairs) or 1)
