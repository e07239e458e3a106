"""Read and check a data frame of predictions."""

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.errors import UserError
from ftlit.metrics.evidence.rows import Rows

if TYPE_CHECKING:
    from pandas import DataFrame

NEEDED = ("arm", "seed", "id", "label", "prediction")
Run = dict[Any, dict[str, Any]]  # the rows by id
Runs = dict[str, dict[int, Run]]  # by arm and number of the seed
OF_EXAMPLES = ("label", "group")  # columns that do not depend on the arm


def checked_rows(frame: "DataFrame", numbers: bool) -> dict[str, dict[int, Rows]]:
    """The predictions of each arm by the number of the seed, all in the same order of examples.

    Args:
        frame: The data frame.
        numbers: Whether labels and predictions have to be numbers.

    Raises:
        UserError: The frame does not fit.
    """
    _check_columns(frame)
    names = [name for name in (*NEEDED, "group") if name in frame]
    columns = {name: [_plain(value) for value in frame[name].tolist()] for name in names}
    if numbers:
        _check_numbers(columns)
    else:
        _check_kinds(columns)
    seeds = {seed: number for number, seed in enumerate(dict.fromkeys(columns["seed"]))}
    found: Runs = {}
    for values in zip(*columns.values(), strict=True):
        arm, seed = str(values[0]), values[1]
        row = dict(zip(names[2:], values[2:], strict=True))
        run = found.setdefault(arm, {}).setdefault(seeds[seed], {})
        if row["id"] in run:
            raise UserError(f"the id {row['id']!r} has two rows in the arm {arm!r} with seed {seed!r}; expected one")
        run[row["id"]] = row
    return _in_one_order(found, list(seeds))


def _check_columns(frame: "DataFrame") -> None:
    for name in NEEDED:
        if name not in frame:
            raise UserError(f"the data frame has no column {name!r}; expected {', '.join(NEEDED)}, and perhaps group")
    if not len(frame):
        raise UserError("the data frame has no rows")
    for name in (*NEEDED, "group"):
        if name in frame and (nulls := np.flatnonzero(frame[name].isna())).size:
            raise UserError(
                f"the column {name!r} has no value in row {nulls[0]} of the data frame, and {nulls.size} are missing"
            )


def _plain(value: Any) -> Any:
    """Several labels of a text as a list in one order, and other values as they are."""
    return sorted(value, key=str) if isinstance(value, list | tuple | set | frozenset | np.ndarray) else value


def _check_numbers(columns: dict[str, list[Any]]) -> None:
    for name in ("label", "prediction"):
        if odd := [value for value in columns[name] if not isinstance(value, Real) or not np.isfinite(float(value))]:
            raise UserError(f"the metric needs numbers, but the column {name!r} has {odd[0]!r}")


def _check_kinds(columns: dict[str, list[Any]]) -> None:
    """Check that predictions can be equal to labels: a 1 is never equal to a "1"."""
    first = columns["label"][0]
    for name in ("label", "prediction"):
        if odd := [value for value in columns[name] if _kind(value) != _kind(first)]:
            raise UserError(
                "labels and predictions should be written in the same way, but the first label is the "
                f"{_kind(first)} {first!r}, and the column {name!r} has the {_kind(odd[0])} {odd[0]!r}"
            )


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "number"


def _in_one_order(found: Runs, seeds: list[Any]) -> dict[str, dict[int, Rows]]:
    """The rows of all arms in the order of the first, and the seeds of all arms in the same order.

    Raises:
        UserError: Arms have other examples, or say other things about an example.
    """
    named = {f"the arm {arm!r} with seed {seeds[number]!r}": run for arm, runs in found.items() for number, run in runs.items()}
    (first, rows), *others = named.items()
    for name, run in others:
        _check_same_examples(first, rows, name, run)
    return {arm: {number: [runs[number][key] for key in rows] for number in sorted(runs)} for arm, runs in found.items()}


def _check_same_examples(first: str, rows: Run, name: str, run: Run) -> None:
    if odd := [key for key in [*rows, *run] if key not in rows or key not in run]:
        has, lacks = (first, name) if odd[0] in rows else (name, first)
        raise UserError(
            f"the id {odd[0]!r} is in {has}, but not in {lacks}; only predictions for the same examples can be compared"
        )
    for column in OF_EXAMPLES:
        if changed := [key for key, row in rows.items() if row.get(column) != run[key].get(column)]:
            key = changed[0]
            raise UserError(
                f"the id {key!r} has the {column} {rows[key][column]!r} in {first}, and {run[key][column]!r} in {name}"
            )
