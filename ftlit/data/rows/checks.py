"""The maximum number of tokens of a text."""

from ftlit.errors import UserError


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
