"""Hide the passwords and keys of experiment trackers, which must not be written to files."""

import re
from typing import Any

HIDDEN = "***"
SECRET = re.compile(r"(api_?key|token|password|secret)$", re.IGNORECASE)


def hidden(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with the secrets of its loggers replaced by stars."""
    trainer = config.get("trainer") or {}
    return {**config, "trainer": {**trainer, "logger": _hidden(trainer.get("logger"))}}


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN if SECRET.search(str(key)) and inner else _hidden(inner) for key, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value


def hidden_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments of a command with the secrets of loggers replaced by stars."""
    found: list[str] = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if found and "=" not in found[-1] and _is_secret(found[-1]):
            found.append(HIDDEN)
        else:
            found.append(f"{key}={HIDDEN}" if equals and _is_secret(key) else argument)
    return found


def _is_secret(key: str) -> bool:
    return key.startswith("--trainer.logger") and bool(SECRET.search(key))
