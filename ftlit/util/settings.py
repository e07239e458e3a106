"""Configs as plain mappings: files that include other files, and dotted keys.

The command line imports all classes to resolve a config. A study may have thousands of configs and must answer in seconds, so
it works on the files directly, with these functions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from ftlit.errors import UserError
from ftlit.util.files import read_whole

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")


def parse_yaml(text: str) -> Any:
    """Parse a YAML value as the command line does: ``1e-4`` is a number."""
    return get_loader("yaml")(text)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; names of YAML files in it are replaced by their contents.

    Raises:
        UserError: The file does not exist, is not valid YAML, or is not a mapping.
    """
    try:
        text = read_whole(path)
        repeated = repeated_key(yaml.compose(text))
        found = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {_problem(error)}") from error
    if repeated is not None:
        raise UserError(f"{path}, line {repeated.start_mark.line + 1}: the key {repeated.value!r} is given twice")
    if not isinstance(found, dict):
        held = "is empty" if found is None else f"holds {type(found).__name__}"
        raise UserError(f"{path} {held}; it should hold keys and values")
    return inlined(found, path.parent)


def repeated_key(node: Any) -> Any:
    """The node of the first key that a mapping in a YAML document has twice, or None."""
    if isinstance(node, yaml.SequenceNode):
        return next((found for inner in node.value if (found := repeated_key(inner))), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    seen = set[tuple[str, str]]()
    for key, inner in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                return key
            seen.add((key.tag, key.value))
        if (found := repeated_key(inner)) is not None:
            return found
    return None


def _problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line."""
    place = getattr(error, "problem_mark", None)
    if place is None:
        return " ".join(str(error).split())
    text = f"line {place.line + 1}: {getattr(error, 'problem', None) or error}"
    line = (place.buffer or "").split("\n")[place.line] if place.buffer else ""
    return f"{text}; indent with spaces, not with tabs" if "\t" in line else text


def inlined(value: Any, folder: Path) -> Any:
    """Replace the names of YAML files in a value, which are relative to `folder`, by the contents of the files."""
    if isinstance(value, dict):
        return {key: inlined(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [inlined(inner, folder) for inner in value]
    if isinstance(value, str) and value.endswith((".yaml", ".yml")) and (folder / value).is_file():
        return read_yaml(folder / value)
    return value


def with_value(config: Any, key: str, value: Any) -> dict[str, Any]:
    """Return a copy of a config with another value for `key`.

    Args:
        config: A mapping, the name of a class, or None.
        key: Names with dots; ``init_args`` may be left out, as on the command line.
        value: Replaces the whole old value.
    """
    first, _, rest = key.partition(".")
    node = {"class_path": config} if isinstance(config, str) else dict(config or {})
    if "class_path" in node and first not in CLASS_KEYS:
        return {**node, "init_args": with_value(node.get("init_args"), key, value)}
    return {**node, first: with_value(node.get(first), rest, value) if rest else value}


def value_at(config: Any, key: str) -> Any:
    """The value of `key` in a config; None if the key is missing."""
    first, _, rest = key.partition(".")
    if not isinstance(config, dict):
        return None
    if "class_path" in config and first not in CLASS_KEYS:
        return value_at(config.get("init_args"), key)
    return value_at(config.get(first), rest) if rest else config.get(first)


def with_values(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a config with other values for several keys, set in order."""
    for key, value in values.items():
        config = with_value(config, key, value)
    return config


def flat(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config by dotted key, without ``init_args``, as on the command line."""
    if isinstance(config, list) and any(isinstance(value, dict) for value in config):
        config = dict(enumerate(config))
    if isinstance(config, dict) and config:
        for name, value in config.items():
            yield from flat(value, key if name == "init_args" else f"{key}.{name}".lstrip("."))
    else:
        yield key, config
