"""Settings that a user writes into a YAML file of their own: their names and types."""

from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ftlit.errors import UserError, near

T = TypeVar("T")

WORDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false", list: "a list", dict: "keys and values"}


def settings_object(kind: type[T], where: str, given: Any) -> T:
    """Build the dataclass that holds a section of a file.

    Args:
        kind: The dataclass, whose fields have the names of the settings.
        where: The section of the file, for messages.
        given: What the section holds.

    Raises:
        UserError: It holds no settings, an unknown one, or one of another type, or lacks one.
    """
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(given, dict):
        raise UserError(f"{where} should hold keys and values ({', '.join(known)}), got {given!r}")
    if unknown := [str(key) for key in given if key not in known]:
        raise UserError(f"{where} has the key {unknown[0]!r}. {near(unknown[0], known)}")
    check_types(kind, where, given)
    try:
        return kind(**given)
    except TypeError as error:
        missing = [name for name in known if name not in given and name in str(error)]
        raise UserError(f"{where} needs the key {', '.join(missing)!r}") from error


def check_types(kind: type, where: str, given: dict[str, Any]) -> None:
    """Check values against the type hints of a class.

    Args:
        kind: The class, whose fields have the names of the values.
        where: The section of the file, for the message.
        given: The values.

    Raises:
        UserError: A value has another type, or is not one of the choices.
    """
    hints = get_type_hints(kind)
    for name, value in given.items():
        check_type(hints[name], f"{where}.{name}", value)


def check_type(hint: Any, where: str, value: Any) -> None:
    """Check a value against a type hint; `where` is its key, for the message."""
    if _fits(hint, value):
        return
    if get_origin(hint) is Literal:
        raise UserError(f"{where} is {value!r}. {near(str(value), get_args(hint))}")
    raise UserError(f"{where} should be {_said(hint)}, got {value!r}")


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in inner
    if origin is UnionType:
        return any(_fits(one, value) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(inner[0], one) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner[1], one) for one in value.values())
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool) and value == value
    return isinstance(value, hint)


def _said(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return " or ".join(_said(one) for one in inner)
    if origin is list and inner[0] in WORDS:
        return f"a list of {WORDS[inner[0]].split(' ', 1)[1]}s"
    return "null" if hint is NoneType else WORDS.get(origin or hint, str(hint))
