"""Hide passwords and keys, which may be written to no file but the config itself, and the folders of this machine.

A secret is known by its shape: a text under a key that speaks of one, such as ``experiment_key``, an address with a password,
an ``Authorization`` header, a long run of letters and digits in an option of a logger, or the value of such a variable of
the environment.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from ftlit.util.files import write_text
from ftlit.util.options import OPTIONS, without_init_args
from ftlit.util.settings import parse_yaml

HIDDEN = "***"
WORDS = "key|token|secret|password|passwd|passphrase|pass|pwd|credentials?|auth|authorization|bearer|cookie|dsn|signature|sig"
KEY = re.compile(rf"(?:^|[^a-z])(?:[a-z]*(?:api|access|secret)key|{WORDS})(?:$|[^a-z])")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
PARAMETER = re.compile(rf"(?i)(?<=[?&;])((?:[\w-]*[_-])?(?:{WORDS}|apikey))=[^&;\s#]+")
HEADER = re.compile(
    r"(?i)(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+\s+)?|\b(?:bearer|basic)\s+(?=\S*\d)(?=\S{16}))[^\s\"',}]+"
)
PREFIXED = re.compile(
    r"\b(?:hf_|sk-|pk-|rk_|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|wandb_v\d_|AKIA|ASIA|AIza|ya29\.|eyJ[\w-]+\.)[\w.-]{12,}"
)
BLOB = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}")  # of a logger: an id or a name is shorter
OWN = {without_init_args(key) for key in OPTIONS}
PATH = re.compile(r"(?<![\w./:<~\\-])(?:~|[A-Za-z]:)?[/\\](?!/)[^\s\"'`,;|<>(){}\[\]/\\]+[/\\][^\s\"'`,;|<>(){}\[\]]*")
LABELS = ("label_names",)  # texts that are never paths
SEPARATORS = "/\\"
FOLDERS = re.compile(r"(~?/(?!/)|~|[A-Za-z]:[/\\])[^/\\]*[/\\]")  # the beginning of an absolute path with a folder in it
TRACKING = ("trainer.logger", "trainer.callbacks", "trainer.plugins", "trainer.profiler")


def hidden(config: Any, key: str = "") -> Any:
    """Return a config, or the value of a key in one, with secrets replaced by stars."""
    if isinstance(config, dict):
        return {
            name: hidden(inner, key if name == "init_args" else f"{key}.{name}".lstrip(".")) for name, inner in config.items()
        }
    if isinstance(config, list):
        return [hidden(inner, key) for inner in config]
    if not isinstance(config, str) or not config:
        return config
    if key not in OWN and KEY.search(CAMEL.sub("_", key.rpartition(".")[2]).lower()):
        return HIDDEN
    shown = hidden_text(config)
    return BLOB.sub(HIDDEN, shown) if key.startswith(TRACKING) and "class_path" not in key else shown


def hidden_text(text: str) -> str:
    """Return a text with the secrets in it replaced by stars."""
    for secret in _secrets_of_environment():
        text = text.replace(secret, HIDDEN)
    text = PARAMETER.sub(rf"\1={HIDDEN}", ADDRESS.sub(HIDDEN, text))
    return PREFIXED.sub(HIDDEN, HEADER.sub(rf"\1{HIDDEN}", text))


def hidden_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments of a command with secrets replaced by stars."""
    found: list[str] = []
    key = ""
    for argument in arguments:
        if argument.startswith("-"):
            key, equals, value = argument.partition("=")
            found.append(f"{key}={_hidden_value(value, key)}" if equals else argument)
            key = "" if equals else key
        else:
            found.append(_hidden_value(argument, key))
    return found


def _hidden_value(value: str, option: str) -> str:
    """Hide the secrets in the value of an option, which may be JSON or YAML."""
    key = without_init_args(option.lstrip("-").rstrip("+"))
    try:
        parsed = parse_yaml(value)
    except yaml.YAMLError:
        parsed = value
    if not isinstance(parsed, dict | list):
        return str(hidden(value, key))
    shown = hidden(parsed, key)
    return value if shown == parsed else json.dumps(shown, ensure_ascii=False)


def without_folders(value: Any) -> Any:
    """Return a value of JSON or YAML in which a text that is an absolute path, such as `/home/me/sst2`, is `.../sst2`."""
    if isinstance(value, dict):
        return {key: inner if key in LABELS else without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    return shown_path(value) if isinstance(value, str) and "\n" not in value else value


def shown_path(path: str) -> str:
    """Return an absolute path without its folders, and any other text as it is."""
    return f".../{path.rstrip(SEPARATORS).rpartition('/')[2].rpartition(SEPARATORS[1])[2]}" if FOLDERS.match(path) else path


def text_without_folders(text: str) -> str:
    """Return a text for readers in which absolute paths are without their folders; those that have blanks are cut there."""
    return PATH.sub(lambda found: shown_path(found[0]), text)


def _secrets_of_environment() -> list[str]:
    """The values of variables whose names speak of a secret."""
    return [value for name, value in os.environ.items() if len(value) >= 8 and "/" not in value and KEY.search(name.lower())]


def write_config(path: Path, text: str) -> None:
    """Write a config, which only its owner may read if there are secrets in it."""
    config = yaml.safe_load(text)
    if hidden(config) == config:
        write_text(path, text)
        return
    before = os.umask(0o077)
    try:
        write_text(path, text)
    finally:
        os.umask(before)
