"""Short names for arms, made of the values in which their configs differ."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftlit.diff.printing import short
from ftlit.diff.settings import place
from ftlit.util.render.formats import value_text

Config = Mapping[str, Any]  # by dotted key, as on the command line
CLASS = ".class_path"


def differing(configs: Sequence[Config]) -> list[str]:
    """The keys that do not have the same value in all configs, likeliest causes of other results first."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return sorted((key for key in keys if len({written(config, key) for config in configs}) > 1), key=place)


def written(config: Config, key: str) -> str | None:
    """The value of a key as a text that can be compared; None if the config does not have the key."""
    return json.dumps(config[key], sort_keys=True, default=str) if key in config else None


def arm_names(configs: Sequence[Config]) -> list[str]:
    """A name for each of several configs, such as `LoRA, r 8, lr 3e-4`; no two names are the same."""
    found = differing(configs)
    keys = [key for key in found if _tells_more(key, found, configs)]
    ends = Counter(_end(key) for key in keys)
    called = {key: _end(key) if ends[_end(key)] == 1 else key.removesuffix(CLASS) for key in keys}
    texts = {key: _texts([config[key] for config in configs if key in config]) for key in keys}
    names = [", ".join(_part(called[key], key, config[key], texts[key]) for key in keys if key in config) for config in configs]
    seen, told_apart = Counter[str](), []
    for name in (name or ("rest" if len(names) > 1 else "all runs") for name in names):
        seen[name] += 1
        told_apart.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told_apart


def _tells_more(key: str, keys: Sequence[str], configs: Sequence[Config]) -> bool:
    """Whether a key differs although the classes that it belongs to are the same, so that their names do not tell it."""
    outer = [other for other in keys if other != key and other.endswith(CLASS) and key.startswith(other.removesuffix(CLASS))]
    found: dict[tuple[str | None, ...], set[str | None]] = {}
    for config in configs:
        found.setdefault(tuple(written(config, other) for other in outer), set()).add(written(config, key))
    return any(len(values) > 1 for values in found.values())


def _end(key: str) -> str:
    return key.removesuffix(CLASS).rsplit(".", 1)[-1]


def _texts(values: Sequence[Any]) -> Callable[[Any], str]:
    """How the values of a key are written: numbers in short, if they can still be told apart."""
    exact = {json.dumps(value, default=str) for value in values}
    return value_text if len({value_text(value) for value in values}) == len(exact) else str


def _part(called: str, key: str, value: Any, text: Callable[[Any], str]) -> str:
    """A value in the name of an arm: a class by its name alone, other values with the name of their key."""
    if key.endswith(CLASS):
        return str(value).rsplit(".", 1)[-1]
    return f"no {called}" if value is None else f"{called} {short(text(value))}"
