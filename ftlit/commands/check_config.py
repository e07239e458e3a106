"""Check a parsed config before anything is created or loaded: numbers, nulls, and whether model and data go together."""

import inspect
import math
from functools import cache
from pydoc import locate
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import Namespace
from lightning import Trainer

from ftlit.errors import UserError
from ftlit.util.arguments.ranges import RANGES, check_arguments, check_number


def check_config(options: Namespace) -> None:
    """Check the numbers and nulls of a config.

    Args:
        options: The parsed options of a command.

    Raises:
        UserError: A number is out of its range, or an option that needs a value is null.
    """
    for name, value in vars(options).items():
        if name == "trainer":
            _check_all(Trainer, vars(value), name)
        elif name == "run_dir" and value in (None, "null"):
            raise UserError("run_dir must be the name of a folder, such as runs/mine")
        else:
            check_number(name, value)
            _check_value(value, name, None)


def _check_all(kind: Any, arguments: dict[str, Any], key: str) -> None:
    """Check all arguments of a class."""
    for name, value in arguments.items():
        inner = f"{key}.{name}"
        if value is None and not allows_null(kind, name):
            raise UserError(f"{inner} must not be null; leave it out for its default")
        if getattr(kind, "config_key", None):
            check_arguments(kind, {name: value}, f"{key}.")
        elif inner in RANGES:
            check_number(inner, value)
        _check_value(value, inner, _dataclass_of(kind, name))


def _check_value(value: Any, key: str, kind: Any) -> None:
    """Check what is inside a value: the arguments of a class, of a dataclass, or values of a list."""
    if isinstance(value, Namespace) and "class_path" in value:
        _check_all(locate(value["class_path"]), vars(value.get("init_args") or Namespace()), key)
    elif isinstance(value, Namespace):
        _check_all(kind, vars(value), key)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_value(inner, f"{key}: {_class_name(inner)}".removesuffix(": "), None)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_value(inner, f"{key}.{name}", None)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key} must be a finite number, got {value}")


def _class_name(value: Any) -> str:
    return value["class_path"].rsplit(".", 1)[-1] if isinstance(value, Namespace) and "class_path" in value else ""


def _dataclass_of(kind: Any, name: str) -> Any:
    hint = _hint(kind, name)
    return hint if inspect.isclass(hint) else None


def allows_null(kind: Any, name: str) -> bool:
    """Whether null is a value of a class's argument, by its type or default; true if the class does not declare it."""
    hint, default = _hint(kind, name), _default(kind, name)
    if hint is None or hint is Any or default is None:
        return True
    return type(None) in get_args(hint) if get_origin(hint) is not None else hint is type(None)


@cache
def _hint(kind: Any, name: str) -> Any:
    """The type of an argument, from the class or the nearest of its parents that declares it; None if none does."""
    for parent in _owners(kind, name):
        try:
            return get_type_hints(parent.__init__).get(name)
        except NameError:  # of a type that is imported for type checkers only
            return None
    return None


def _default(kind: Any, name: str) -> Any:
    found = [inspect.signature(parent.__init__).parameters[name].default for parent in _owners(kind, name)]
    return found[0] if found else None


def _owners(kind: Any, name: str) -> list[Any]:
    parents: tuple[Any, ...] = inspect.getmro(kind) if inspect.isclass(kind) else ()
    return [p for p in parents if "__init__" in vars(p) and name in inspect.signature(p.__init__).parameters]
