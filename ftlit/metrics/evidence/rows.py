"""Read the predictions of runs, and pair them by example."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ftlit.errors import UserError

Rows = Sequence[dict[str, Any]]

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
