"""What a cell of a table holds: numbers, labels, and lists and objects written as text."""

import ast
import json
import re
from decimal import Decimal
from typing import Any

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def number(value: Any) -> float | None:
    """A number, or a text that writes one in digits as every csv does, as a number; None for anything else.

    Python itself would also take ``4_4``, ``infinity`` and a truth value for numbers.
    """
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value := value.strip()) else None
    return float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None


def whole_number(value: Any) -> int | None:
    """A whole number, or a text of one, or 2.0 as a whole number; None for anything else."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def is_label(value: Any) -> bool:
    """Whether a value can be a label: a text, a number or a truth value."""
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int | float | Decimal) and value == value


def label_text(value: Any) -> str:
    """A label as text, without spaces around it; 2.0, from a column with missing values, becomes 2."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def is_bracketed(text: str) -> bool:
    """Whether a text is written like a list or an object."""
    text = text.strip()
    return len(text) > 1 and text[0] + text[-1] in ("[]", "{}")


def written(text: str) -> list[Any] | dict[Any, Any] | None:
    """The list or object that a text writes, as pandas saves them in a csv: ``['a', 'b']``, ``["a", "b"]``, ``[0 1]``.

    Returns:
        None if the text writes neither.
    """
    text = text.strip()
    if not is_bracketed(text) and not text.startswith(("('", '("')):  # a tuple, but not a label such as (none)
        return None
    # NumPy writes no commas, and Python would join the texts.
    separated = re.sub(r"(?<=[\d.'\"])\s+(?=[\d'\"])", ", ", text) if "," not in text else text
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(separated)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | tuple | set | dict):
            return found if isinstance(found, dict) else list(found)
    return None
