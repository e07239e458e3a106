"""Classes whose arguments are checked before they are created."""

from abc import ABCMeta
from inspect import Signature, signature
from typing import Any

from ftlit.util.arguments.ranges import check_arguments


class CheckedArguments(ABCMeta):
    """Checks the numbers among the arguments of a class, however it is created.

    A class attribute ``config_key`` names the option of the config that such an object is a value of.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        check_arguments(cls, _by_name(cls, args, kwargs))
        return super().__call__(*args, **kwargs)

    @property
    def __signature__(cls) -> Signature:
        """The signature of `__init__`, since `inspect` and `help` would use that of `__call__`."""
        own = signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:])


def _by_name(kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name; Python reports those that do not fit when the object is created."""
    return {**dict(zip(kind.__signature__.parameters, args, strict=False)), **kwargs}
