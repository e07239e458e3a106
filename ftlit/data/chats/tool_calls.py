"""Tools and the calls of tools in conversations, in the form that chat templates take."""

import json
from typing import Any


class CallError(ValueError):
    """A tool or a call is invalid; the message, which continues one that names the place, says why."""


def compact(value: Any) -> Any:
    """A value without the keys that are null.

    The rows of a data set share one type for each column, in which every object has the keys of all others, as nulls.
    """
    if isinstance(value, dict):
        return {k: compact(v) if isinstance(v, dict | list) else v for k, v in value.items() if v is not None}
    return [compact(found) for found in value] if isinstance(value, list) else value


def calls_of(value: Any) -> list[Any]:
    """The calls in a cell, which is empty, an object, a list of objects, or the JSON text of one of these.

    Raises:
        CallError: If it is something else.
    """
    return _objects(value, "a call of a tool", "an object with name and arguments")


def tools_of(value: Any) -> list[dict[str, Any]]:
    """The tools in a cell, which is empty, a list of descriptions, one description, or the JSON text of one of these.

    Raises:
        CallError: If it is something else.
    """
    return [_tool(tool) for tool in _objects(compact(value), "the tools", "a list of objects with a name")]


def _objects(value: Any, what: str, expected: str) -> list[Any]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise CallError(f"holds {what} as {value!r}, which is not the JSON text of {expected}") from None
    found = [value] if isinstance(value, dict) else value
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise CallError(f"holds {what} as {value!r}, not {expected}")
    return found


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool in the form ``{"type": "function", "function": {...}}``."""
    inner = tool.get("function", tool)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise CallError(f"holds the tool {tool!r}, which has no name")
    return tool if "function" in tool else {"type": "function", "function": tool}


def parsed_call(call: dict[str, Any]) -> dict[str, Any]:
    """A call in the form ``{"type": "function", "function": {"name": ..., "arguments": {...}}}``, with its id if it has one.

    Raises:
        CallError: If it has no name, or its arguments are not an object.
    """
    inner = call.get("function", call)
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str):
        raise CallError(f"holds a call of a tool {call!r} without a name")
    arguments = inner.get("arguments", inner.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _parsed(arguments, name)
    if not isinstance(arguments, dict):
        raise CallError(f"calls {name!r} with {arguments!r}; expected an object with the arguments")
    own = {key: value for key, value in call.items() if key not in ("function", "name", "arguments", "parameters")}
    return {"type": "function", **own, "function": {"name": name, "arguments": arguments}}


def _parsed(arguments: str, name: str) -> Any:
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        raise CallError(f"calls {name!r} with arguments that are not valid JSON: {arguments!r}") from None


def with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose calls have their arguments as JSON text, which some templates write unchanged."""
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False)}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}
