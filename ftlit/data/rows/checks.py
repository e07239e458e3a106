"""Checks of options of the config."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftlit.errors import UserError


def check_least(smallest: int, **given: int | None) -> None:
    """Raise if an option of `data` is below its minimum; None is skipped.

    Args:
        smallest: The minimum.
        **given: The options by their keys.

    Raises:
        UserError: If an option is below the minimum.
    """
    for key, value in given.items():
        if value is not None and value < smallest:
            raise UserError(f"data.{key} should be at least {smallest}, got {value}")


def check_share(**given: float) -> None:
    """Raise if an option of `data` is not a share strictly between 0 and 1.

    Args:
        **given: The options by their keys.

    Raises:
        UserError: If an option is out of bounds.
    """
    for key, value in given.items():
        if not 0 < value < 1:
            raise UserError(f"data.{key} should be above 0 and below 1, got {value}")


def check_names(names: Sequence[Any], key: str) -> None:
    """Raise if a list of labels has a label twice or an empty one.

    Args:
        names: The labels.
        key: The option that has them.

    Raises:
        UserError: If a label is empty or occurs twice.
    """
    texts = [str(name).strip() for name in names]
    if "" in texts:
        raise UserError(f"{key} has an empty label at place {texts.index('') + 1}")
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise UserError(f"{key} has the label {twice!r} twice; each label stands once, in the order of the ids")


def check_columns_differ(columns: Mapping[str, str]) -> None:
    """Raise if two options of `data` name the same column.

    Args:
        columns: The column that each option names.

    Raises:
        UserError: If a column occurs twice.
    """
    owners: dict[str, str] = {}
    for key, column in columns.items():
        if column in owners:
            raise UserError(f"data.{owners[column]} and data.{key} both name the column {column!r}; each needs its own")
        owners[column] = key


def checked_length(wanted: int | None, default: int, limit: int | None, reserved: int, backbone: str) -> int:
    """The maximum number of tokens of a text.

    Args:
        wanted: The option `data.max_length`; None for the default.
        default: The default, unless the backbone's limit is lower.
        limit: Number of positions of the backbone, or None if it is unlimited.
        reserved: Positions that the tuning method needs for itself.
        backbone: Name of the backbone, for the message.

    Raises:
        UserError: If `wanted` is above the limit.
    """
    limit = None if limit is None else limit - reserved
    if wanted is not None and limit is not None and wanted > limit:
        own = f", since model.tuning takes {reserved} for itself" if reserved else ""
        raise UserError(f"data.max_length is {wanted}, but {backbone!r} takes at most {limit} tokens{own}")
    return wanted or min(limit or default, default)
