"""The right answers of token classification in rows: a tag for each word, or entities with character offsets."""

from collections.abc import Sequence
from typing import Any

from ftlit.data.sources.formats import describe_value
from ftlit.errors import UserError
from ftlit.metrics.entities import Offset, covered_words, located_words
from ftlit.metrics.spans import PREFIXES, Scheme, Span, check_tags, iob2_tags

ENTITY_KEYS = ("start", "end", "label")
UNTYPED = "entity"


def tokens_problem(tokens: list[Any], column: str) -> str | None:
    """What is wrong with the words of a row, or None."""
    if not tokens:
        return f"the list of words in column {column!r} is empty"
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            return f"token {i} in column {column!r} is {describe_value(token)}, not a text"
        if not token.strip(" \t\r\n"):  # a no-break space may be a token
            return f"token {i} in column {column!r} is empty"
    return None


def tags_problem(tags: Any, count: int, names: list[str] | None, scheme: Scheme | None, column: str) -> str | None:
    """What is wrong with the tags of `count` words, or None.

    Args:
        tags: The tags in the row.
        count: Number of words.
        names: Names of tags that are given as indices.
        scheme: Tagging scheme; None if the tags have no prefixes.
        column: Column of the tags.
    """
    if not isinstance(tags, list):
        return f"column {column!r} holds {describe_value(tags)}, not a list of tags"
    if len(tags) != count:
        return f"{count} tokens have {len(tags)} tags"
    for i, tag in enumerate(tags):
        if isinstance(tag, int):
            if names is None:
                return f"the tags in column {column!r} are numbers; name the tags in their order with data.label_names"
            if not 0 <= tag < len(names):
                return f"token {i} has the tag {tag}, but the {len(names)} tags count from 0 to {len(names) - 1}"
        elif not isinstance(tag, str) or not tag.strip():
            return f"token {i} has the tag {describe_value(tag)}; a tag is a name, or a number of data.label_names"
    found = check_tags(with_types(named(tags, names)), scheme) if scheme else None
    return found and found.replace(f"-{UNTYPED}", "")


def named(tags: list[Any], names: list[str] | None) -> list[str]:
    """The names of tags, which may be given as indices."""
    return [names[tag] if names and isinstance(tag, int) else str(tag).strip() for tag in tags]


def with_types(tags: list[str]) -> list[str]:
    """Tags of which those that are only a prefix, as where all spans are of one kind, have the type `UNTYPED`."""
    return [f"{tag}-{UNTYPED}" if tag in PREFIXES["BIOES"] else tag for tag in tags]


def entities_problem(given: Any, text: str, column: str) -> str | None:
    """What is wrong with the entities of a text, or None."""
    if not isinstance(given, list | dict):
        return f"column {column!r} holds {describe_value(given)}, not a list of entities; use [] for a text without entities"
    if isinstance(given, dict) and not _even_lists(given):
        return (
            f"column {column!r} holds {describe_value(given)}; it should be a list of entities, or an object with lists of "
            f"equal length under {', '.join(ENTITY_KEYS)}"
        )
    found = as_entities(given)
    for i, entity in enumerate(found):
        if problem := _entity_problem(entity, text):
            return f"entity {i} in column {column!r} {problem}"
    text, offsets = located_words(text)
    try:
        iob2_tags(entity_spans(found, text, offsets)[0], len(offsets))
    except UserError as error:
        return str(error)
    return None


def _even_lists(given: dict[str, Any]) -> bool:
    return all(isinstance(values, list) for values in given.values()) and len(set(map(len, given.values()))) <= 1


def _entity_problem(entity: Any, text: str) -> str | None:
    if not isinstance(entity, dict) or any(key not in entity for key in ENTITY_KEYS):
        return f"is {describe_value(entity)}; it needs the keys {', '.join(ENTITY_KEYS)}"
    start, end, label = (entity[key] for key in ENTITY_KEYS)
    if not isinstance(label, str) or not label.strip():
        return f"has the label {describe_value(label)}; it should be a name"
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
        return f"({label!r}) goes from {start!r} to {end!r}, which is not within the text of {len(text)} characters"
    return None if text[start:end].strip() else f"({label!r}) covers no word"


def as_entities(given: Any) -> list[Any]:
    """Entities as a list of dictionaries; `datasets` may return them as a dictionary of lists."""
    if isinstance(given, dict):
        return [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
    return given


def entity_spans(given: Any, text: str, offsets: Sequence[Offset]) -> tuple[list[Span], int]:
    """The entities as spans of words, and the number of entities that were widened to whole words."""
    spans, moved = [], 0
    for entity in as_entities(given):
        start, end, label = (entity[key] for key in ENTITY_KEYS)
        part = text[start:end]
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
        first, last = covered_words(start, end, offsets)
        moved += (offsets[first][0], offsets[last - 1][1]) != (start, end)
        spans.append((label, first, last))
    return spans, moved
