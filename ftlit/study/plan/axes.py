"""The axes of a study: their levels, and the combinations of levels."""

import itertools
import math
import random
from typing import Any

from ftlit.errors import UserError, near
from ftlit.util.options import OPTIONS

Level = dict[str, Any]  # keys of the config and their values
SHORT_KEYS = {option.short: key for key, option in sorted(OPTIONS.items()) if option.short}


def full_key(name: str) -> str:
    """The config key that an axis is named after. Frequent keys have short names.

    Raises:
        UserError: The name is neither a key with dots nor a short name.
    """
    if "." in name or name in SHORT_KEYS:
        return SHORT_KEYS.get(name, name)
    raise UserError(
        f"the axis {name!r} is a list of values, so its name should be a key such as data.shots. {near(name, SHORT_KEYS)}"
    )


def axis_levels(axis: str, given: Any) -> dict[str, Level]:
    """The levels of an axis by label.

    Args:
        axis: Name of the axis.
        given: A list of values for the key that the axis is named after, or the keys and values of each label.

    Raises:
        UserError: `given` is empty or has another type.
    """
    if isinstance(given, list) and given:
        key = full_key(axis)
        levels = {label_of(value): {key: value} for value in given}
        if len(levels) < len(given):
            raise UserError(f"the axis {axis!r} lists a value twice: {given}")
        return levels
    if isinstance(given, dict) and given:
        for label, level in given.items():
            if not isinstance(level, dict):
                raise UserError(
                    f"axes.{axis}.{label} should hold keys of the config and their values, such as "
                    f"{{model.tuning: Full}}, got {level!r}"
                )
        return {str(label): level for label, level in given.items()}
    raise UserError(f"axes.{axis} should be a list of values or the keys and values of each label, got {given!r}")


def label_of(value: Any) -> str:
    """The label of a value; classes are labelled with their names."""
    return str(value["class_path"]).rsplit(".", 1)[-1] if isinstance(value, dict) and "class_path" in value else str(value)


def combine_levels(axes: dict[str, dict[str, Level]], design: Any, exclude: list[dict[str, str]]) -> list[dict[str, str]]:
    """The combinations of levels in a study; each holds the label of every axis.

    Args:
        axes: Labels and levels of each axis.
        design: ``grid``, ``{random: 20, seed: 0}``, or ``{list: [{tuning: full, shots: 16}, …]}``.
        exclude: Combinations of labels to leave out.

    Raises:
        UserError: `design` or `exclude` names an unknown level, or no combination remains.
    """
    for labels in exclude:
        _check_labels("exclude", labels, axes)
    found = [dict(zip(axes, labels, strict=True)) for labels in itertools.product(*axes.values())]
    if design != "grid":
        found = _designed(found, design, axes)
    kept = [labels for labels in found if not any(out.items() <= labels.items() for out in exclude)]
    if not kept:
        raise UserError("exclude leaves no combination of the axes")
    return kept


def _designed(grid: list[dict[str, str]], design: Any, axes: dict[str, dict[str, Level]]) -> list[dict[str, str]]:
    if isinstance(design, dict) and set(design) <= {"random", "seed"} and _counts(design):
        count = min(design["random"], len(grid))
        chosen = random.Random(design.get("seed", 0)).sample(range(len(grid)), count)
        return [grid[i] for i in sorted(chosen)]
    if isinstance(design, dict) and set(design) == {"list"} and _is_list_of_levels(design["list"]):
        listed = [{str(k): str(v) for k, v in labels.items()} for labels in design["list"]]
        for labels in listed:
            _check_labels("design.list", labels, axes)
            if missing := [axis for axis in axes if axis not in labels]:
                raise UserError(f"design.list has {labels} without the axis {missing[0]!r}")
        return listed
    raise UserError(f"design should be grid, {{random: 20, seed: 0}} or {{list: [...]}}, got {design!r}")


def _counts(design: dict[str, Any]) -> bool:
    """Whether a random design has a number of combinations above 0 and a number as its seed."""
    return type(design.get("random")) is int and design["random"] > 0 and type(design.get("seed", 0)) is int


def _is_list_of_levels(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(isinstance(labels, dict) for labels in given)


def _check_labels(where: str, labels: dict[str, str], axes: dict[str, dict[str, Level]]) -> None:
    for axis, label in labels.items():
        if axis not in axes:
            raise UserError(f"{where} names the axis {axis!r}. {near(axis, axes)}")
        if label not in axes[axis]:
            raise UserError(f"{where} names {label!r} of the axis {axis!r}. {near(label, axes[axis])}")


def draw_values(over: dict[str, Any], trials: int | None, seed: int | str) -> list[dict[str, Any]]:
    """Values for several keys: all combinations, or `trials` random draws.

    Args:
        over: A list of values or a range ``{low, high, log}`` for each key.
        trials: Number of draws; None for all combinations.
        seed: Seed of the draws.
    """
    if trials is None:
        return [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    if all(isinstance(values, list) for values in over.values()):
        grid = draw_values(over, None, seed)
        return random.Random(seed).sample(grid, min(trials, len(grid)))
    source = random.Random(seed)
    return [{key: _draw(key, values, source) for key, values in over.items()} for _ in range(trials)]


def _draw(key: str, values: Any, source: random.Random) -> Any:
    if isinstance(values, list):
        return source.choice(values)
    low, high, log = bounds(key, values)
    return math.exp(source.uniform(math.log(low), math.log(high))) if log else source.uniform(low, high)


def bounds(key: str, values: Any) -> tuple[float, float, bool]:
    """The ends of a range, and whether it is sampled on a logarithmic scale.

    Raises:
        UserError: `values` is not a valid range.
    """
    if not isinstance(values, dict) or not {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        raise UserError(f"select.over.{key} should be a list or {{low: 1e-5, high: 1e-3, log: true}}, got {values!r}")
    low, high, log = values["low"], values["high"], bool(values.get("log", False))
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high)):
        raise UserError(f"select.over.{key}: low and high should be numbers, got {values!r}")
    if low >= high or (log and low <= 0):
        raise UserError(f"select.over.{key}: low should be below high, and above 0 with log; got {values!r}")
    return float(low), float(high), log
