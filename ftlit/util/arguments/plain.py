"""Objects as a config describes them: a class path and arguments."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

from ftlit.util.private import import_path


class NotPlainError(TypeError):
    """An object that no config can describe, such as a lambda."""


def plain(value: Any) -> Any:
    """Convert a value to what YAML can hold. Objects that keep their arguments as attributes become class paths and arguments.

    Raises:
        NotPlainError: The value is or contains an object that cannot be rebuilt from its import path and arguments.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, partial) and not value.args:
        return _described(value.func, {**_defaults(value.func), **value.keywords})
    return _described(type(value), _arguments(value))


def plain_arguments(kind: type, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Convert the arguments of a class to what YAML can hold; also return the names of those that no config can describe.

    Defaults that no config can describe are left out.
    """
    defaults: dict[str, Any] = {}
    for parent in reversed(inspect.getmro(kind)[:-1]):
        defaults |= _defaults(parent)
    found, lost = dict[str, Any](), list[str]()
    for name, value in arguments.items():
        try:
            found[name] = plain(value)
        except NotPlainError:
            if value is not defaults.get(name):
                lost.append(name)
    return found, lost


def _described(kind: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    path = import_path(kind) if inspect.isclass(kind) else ""
    if not path or "<locals>" in path or path.startswith(("__main__.", "builtins.")):
        raise NotPlainError(f"{kind} cannot be imported by its path")
    init_args = {name: plain(value) for name, value in arguments.items()}
    return {"class_path": path, **({"init_args": init_args} if init_args else {})}


def _arguments(value: Any) -> dict[str, Any]:
    """The arguments with which an object was made, from its attributes of the same names."""
    names = [name for name, parameter in _parameters(type(value)).items() if parameter.kind not in VARIABLE]
    if lost := [name for name in names if not hasattr(value, name)]:
        raise NotPlainError(f"{type(value)} does not keep its arguments {lost}")
    return {name: getattr(value, name) for name in names}


VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(kind).parameters)
    except ValueError as error:  # of a class written in C
        raise NotPlainError(f"{kind} has no signature") from error


def _defaults(kind: Any) -> dict[str, Any]:
    return {name: p.default for name, p in _parameters(kind).items() if p.default is not inspect.Parameter.empty}
