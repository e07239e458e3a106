"""What the commands that compare runs share: their parser, and how they print values."""

import argparse
import json
from math import isfinite
from typing import Any, NoReturn

from ftlit.errors import UserError

MAX_VALUE_LENGTH = 48  # characters of a value in a table
MODELS = (
    "The intervals are about these trained models on new examples of the same kind. Comparing the methods behind them "
    "takes several seeds: see ftlit study."
)


class Parser(argparse.ArgumentParser):
    """A parser that raises `UserError`."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def short(value: Any) -> str:
    """A value of a config as text, without its middle if it is long."""
    if value is None:
        return "–"
    written = value if isinstance(value, str) else json.dumps(value, default=str)
    if len(written) <= MAX_VALUE_LENGTH:
        return written
    return f"{written[: MAX_VALUE_LENGTH // 2]}…{written[-MAX_VALUE_LENGTH // 2 :]}"


def finite(value: Any) -> Any:
    """Replace NaN and infinite numbers, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
