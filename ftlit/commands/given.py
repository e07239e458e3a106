"""Check what a command was given, before its parser reads it: config files, and environment variables that are options."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftlit.commands.renamed import renamed
from ftlit.errors import UserError, near
from ftlit.util.settings import CLASS_KEYS, parse_yaml, read_yaml

YAML = (".yaml", ".yml")
SECTIONS = ("model", "data", "trainer")
PREFIX = "FTLIT_"
CONFIGURED = ("fit", "validate", "test")  # commands whose options may be set by environment variables
# Variables that are not options: of the tests, of `ftlit.__main__`, and of `ftlit.serve.command`.
VARIABLES = ("FTLIT_DATA", "FTLIT_TRACEBACK", "FTLIT_SERVE_TOKEN")


def check_given(args: list[str]) -> None:
    """Check the config files of a command, and the sections that are given as a whole on the command line.

    Args:
        args: The name of the command, followed by its options.

    Raises:
        UserError: A file cannot be read, a key is given twice, or a section does not hold keys and values.
    """
    for option, value in [*_options(args[1:]), ("--config", os.environ.get(f"{PREFIX}{args[0].upper()}__CONFIG", ""))]:
        if option in ("--config", "-c") and value and not _is_yaml_text(value):
            _check_sections(_config(Path(value)), value)
        elif value.endswith(YAML) and Path(value).is_file():
            _check_classes(read_yaml(Path(value)), value)
        elif option == "--trainer":
            _check_sections({"trainer": parse_yaml(value)}, "the command line")


def _options(args: list[str]) -> Iterable[tuple[str, str]]:
    """The options with their values; flags have an empty value."""
    for arg, following in zip(args, [*args[1:], "--"][: len(args)], strict=True):
        name, equals, value = arg.partition("=")
        if name.startswith("-"):
            yield name, value if equals or following.startswith("--") else following


def _is_yaml_text(value: str) -> bool:
    return "\n" in value or ": " in value or value.startswith("{")


def _config(path: Path) -> dict[str, Any]:
    if path.is_symlink() and not path.exists():
        raise UserError(f"--config {path} is a link to {path.readlink()}, which does not exist")
    if not path.exists():
        beside = [file.name for file in path.parent.glob("*") if file.suffix in YAML] if path.parent.is_dir() else []
        raise UserError(f"--config {path} does not exist. {near(path.name, sorted(beside)) if beside else ''}".rstrip())
    return read_yaml(path)


def _check_sections(config: dict[str, Any], file: str) -> None:
    for key in SECTIONS:
        value = config.get(key)
        if value is not None and not isinstance(value, dict) and not (isinstance(value, str) and key != "trainer"):
            wanted = "keys and values, such as max_epochs: 3" if key == "trainer" else "class_path and init_args"
            raise UserError(f"{file}: {key} should hold {wanted}; got {value!r}")
    _check_classes(config, file)


def _check_classes(config: Any, file: str, key: str = "") -> None:
    """Check that beside a ``class_path`` there are no other keys than those of a class."""
    if isinstance(config, list):
        for inner in config:
            _check_classes(inner, file, key)
    if isinstance(config, dict):
        if "class_path" in config and (other := [name for name in config if name not in CLASS_KEYS]):
            raise UserError(f"{file}: {key or 'the class'} has the key {other[0]!r}. {near(str(other[0]), CLASS_KEYS)}")
        for name, inner in config.items():
            _check_classes(inner, file, f"{key}.{name}".lstrip("."))


def check_environment(command: str, options: Iterable[str] = ()) -> None:
    """Check that every environment variable that begins as those of options do is an option.

    Args:
        command: The command that runs. Options of other commands are left to them.
        options: The options of this command by their dotted names; none if it takes them as arguments only.

    Raises:
        UserError: A variable is no option.
    """
    own = f"{PREFIX}{command.upper()}__"
    known = [own + name.replace(".", "__").upper() for name in options]
    others = tuple(f"{PREFIX}{other.upper()}__" for other in CONFIGURED if other != command)
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and not name.startswith(others)):
        if name not in (*known, *VARIABLES):
            raise UserError(f"there is no option {name}, which is set in the environment. {_nearest(name, own, known)}")


def _nearest(name: str, own: str, known: list[str]) -> str:
    """What to do about a variable that is no option."""
    written = name.removeprefix(own) if name.startswith(own) else name.removeprefix(PREFIX)
    if old := renamed(written.replace("__", ".").lower()):
        return old
    found = near(own + written, known)
    return found if found.startswith("Did you mean") else "Unset it."
