"""Read the predictions of runs, and pair them by example."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ftlit.errors import UserError

Rows = Sequence[dict[str, Any]]

NOT_INPUT = ("id", "from", "bytes")  # columns that precede the label without being part of the input
SAME_IN_ALL_RUNS = ("label", "from", "bytes")  # columns of predictions that do not depend on the model


def aligned(runs: Mapping[str, Rows]) -> dict[str, Rows]:
    """The predictions of several runs, all in the order of the first run.

    Args:
        runs: The predictions of each run by name. Examples with the same id are paired in their order.

    Raises:
        UserError: The runs have different examples, or different right answers.
    """
    (first, rows), *others = runs.items()
    keys = _keys(rows)
    found: dict[str, Rows] = {first: list(rows)}
    for name, other in others:
        by_key = dict(zip(_keys(other), other, strict=True))
        if odd := next(iter(by_key.keys() ^ set(keys)), None):
            there = name if odd in by_key else first
            raise _other_data(first, name, f"example {odd[0]!r} is only in {there}")
        found[name] = [by_key[key] for key in keys]
        for one, two in zip(found[first], found[name], strict=True):
            if _given(one) != _given(two):
                raise _other_data(first, name, f"example {one['id']!r} has a different right answer or text in each")
    return found


def _keys(rows: Rows) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    keys = []
    for row in rows:
        keys.append((row["id"], seen[row["id"]]))
        seen[row["id"]] += 1
    return keys


def _given(row: dict[str, Any]) -> list[Any]:
    return [row.get(key) for key in SAME_IN_ALL_RUNS]


def _other_data(first: str, second: str, fact: str) -> UserError:
    return UserError(
        f"{first} and {second} were evaluated on different data, so their examples cannot be paired: {fact}; "
        "use the same section `data` in their configs"
    )


def input_text(row: Mapping[str, Any]) -> str:
    """The columns of a row before the label: a text, a pair of texts, or words."""
    parts = []
    for key, value in row.items():
        if key == "label":
            break
        if key not in NOT_INPUT:
            parts.append(" ".join(map(str, value)) if isinstance(value, list) else str(value))
    return " ‖ ".join(parts)


def answer_text(label: object) -> str:
    """A right answer as text: labels, tags or answers separated by commas, entities with their types."""
    if isinstance(label, Mapping):
        return f"{label.get('text', '')} ({label.get('label', '')})"
    return ", ".join(map(answer_text, label)) if isinstance(label, list) else str(label)
