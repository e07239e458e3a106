"""The form of a row: a field for each column that a model takes."""

from typing import Any, NamedTuple

HINTS = {
    "lines": "one a line",
    "choices": "one choice a line",
    "span": "words of the text: write them, or select them above and press the button",
    "message": "a message of the user",
    "json": "JSON, or empty",
}


class Field(NamedTuple):
    """A field of a form.

    Attributes:
        column: The column.
        kind: How it is filled in, and what becomes of it: see `HINTS`; `text` is sent as it is.
        required: Whether the model needs it.
    """

    column: str
    kind: str
    required: bool

    @property
    def hint(self) -> str:
        """What to write into it."""
        return HINTS.get(self.kind, "" if self.required else "optional")


def fields(schema: dict[str, Any]) -> list[Field]:
    """The fields of a form, in the order of the columns.

    Args:
        schema: The description of a model, as ``/schema`` has it.
    """
    required = schema["required"]
    return [Field(name, field_kind(of, name in required), name in required) for name, of in schema["columns"].items()]


def field_kind(of: dict[str, Any], required: bool) -> str:
    """How a column is filled in.

    Args:
        of: The JSON schema of the column.
        required: Whether the model needs it.
    """
    kinds = [one.get("type") for one in of.get("anyOf", [of])]
    if "string" in kinds:
        return "text"
    if _has_items(of, "string"):
        return "lines"
    if any(_has_items(one, "string") for one in of.get("anyOf", [])):
        return "choices"
    if {"start", "end"} <= of.get("properties", {}).keys():
        return "span"
    return "message" if required and _has_items(of, "object") else "json"


def _has_items(of: dict[str, Any], kind: str) -> bool:
    """Whether a column holds a list of texts, or of objects."""
    return of.get("type") == "array" and of["items"].get("type") == kind
