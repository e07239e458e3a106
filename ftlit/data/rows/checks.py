"""Checks of numbers in the config."""

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
