"""The length of trainings in successive halving (Jamieson and Talwalkar, 2016): a part of the limits in the config."""

from typing import Any

from ftlit.errors import UserError
from ftlit.util.settings import value_at, with_values

LIMITS = ("trainer.max_epochs", "trainer.max_steps")


def shortened(config: dict[str, Any], divisor: int) -> dict[str, Any]:
    """A config whose training takes a part of its epochs and steps, rounded up."""
    return with_values(config, {key: -(-limit // divisor) for key, limit in _limits(config).items()})


def part_of_length(config: dict[str, Any], divisor: int) -> float:
    """The part of its full length that a shortened config trains for."""
    return max((-(-limit // divisor) / limit for limit in _limits(config).values()), default=1.0)


def check_lengths(name: str, config: dict[str, Any], divisor: int) -> None:
    """Check that a training can be cut into so many parts.

    Args:
        name: Name of the arm.
        config: Its config.
        divisor: The number of parts.

    Raises:
        UserError: The config limits neither epochs nor steps, or has fewer of them.
    """
    limits = _limits(config)
    if not limits:
        raise UserError(
            "select.method: halving trains for a part of trainer.max_epochs or trainer.max_steps, and the arm "
            f"{name!r} has neither; set one of them"
        )
    for key, limit in limits.items():
        if limit < divisor:
            raise UserError(
                f"select.method: halving begins with 1/{divisor} of {key}, which should be at least {divisor} but is {limit} "
                f"in the arm {name!r}; raise it, or lower select.rungs or select.factor"
            )


def _limits(config: dict[str, Any]) -> dict[str, int]:
    """The limits of epochs and steps of a config, where -1 means no limit."""
    found = {key: value_at(config, key) for key in LIMITS}
    return {key: limit for key, limit in found.items() if type(limit) is int and limit > 0}
