"""Numbers of the config that must lie within bounds."""

from ftlit.errors import UserError


def check_least(smallest: int, **given: int | None) -> None:
    """Refuse numbers of `data` that are too small; None is none.

    Args:
        smallest: The least that each may be.
        **given: The numbers by their keys.

    Raises:
        UserError: One is smaller.
    """
    for key, value in given.items():
        if value is not None and value < smallest:
            raise UserError(f"data.{key} should be at least {smallest}, got {value}")


def check_share(**given: float) -> None:
    """Refuse shares of `data` that leave nothing or take nothing.

    Args:
        **given: The shares by their keys.

    Raises:
        UserError: One does not lie between 0 and 1.
    """
    for key, value in given.items():
        if not 0 < value < 1:
            raise UserError(f"data.{key} should be above 0 and below 1, got {value}")
