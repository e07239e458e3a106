"""The paths under /v1 in the description of a server."""

from collections.abc import Callable
from typing import Any

from ftlit.serve.completions.fields import LONGEST_SEED, MOST_STOPS
from ftlit.serve.completions.generator import MESSAGES, PROMPT

TEXT: dict[str, Any] = {"type": "string"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
ERROR = {
    "type": "object",
    "properties": {"message": TEXT, "type": TEXT, "param": {}, "code": {}},
    "required": ["message", "type"],
}
MESSAGE = {
    "type": "object",
    "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool"]}, "content": {}},
    "required": ["role"],
}
STOP = {"type": "string", "minLength": 1}
SETTINGS: dict[str, Any] = {
    "max_tokens": {"type": ["integer", "null"], "minimum": 1},
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "seed": {"type": ["integer", "null"], "minimum": -LONGEST_SEED, "maximum": LONGEST_SEED - 1},
    "stop": {"anyOf": [{"type": "null"}, STOP, {"type": "array", "items": STOP, "maxItems": MOST_STOPS}]},
    "n": {"enum": [None, 1]},
    "stream": {"type": ["boolean", "null"]},
    "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": ["boolean", "null"]}}},
}
USAGE = {
    "type": "object",
    "properties": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), COUNT),
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
}
COMPLETION = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "object": TEXT,
        "created": COUNT,
        "model": TEXT,
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"index": COUNT, "finish_reason": {"enum": ["stop", "length"]}, "text": TEXT, "message": MESSAGE},
                "required": ["index", "finish_reason"],
            },
        },
        "usage": USAGE,
    },
    "required": ["id", "object", "created", "model", "choices", "usage"],
}
MODEL = {
    "type": "object",
    "properties": {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT},
    "required": ["id", "object", "created", "owned_by"],
}
SCHEMAS = {
    "completion": COMPLETION,
    "writer": MODEL,
    "error": {"type": "object", "properties": {"error": ERROR}, "required": ["error"]},
}


def described(models: list[str], responses: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """The paths and what they take and answer.

    Args:
        models: Names of the models.
        responses: Makes the responses of a path from the media types of its answer and of its errors.
    """
    messages = {"type": "array", "items": MESSAGE, "minItems": 1}
    prompts = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
    most = {"max_completion_tokens": SETTINGS["max_tokens"]}
    errors = {"application/json": {"schema": _of("error")}}
    written = responses({"application/json": {"schema": _of("completion")}, "text/event-stream": {"schema": TEXT}}, errors)
    listed = {"type": "object", "properties": {"data": {"type": "array", "items": _of("writer")}}, "required": ["data"]}
    name = {"name": "name", "in": "path", "required": True, "schema": {"enum": models}}
    return {
        "/v1/chat/completions": {"post": _written("Reply in a conversation.", models, {MESSAGES: messages, **most}, written)},
        "/v1/completions": {"post": _written("Continue prompts.", models, {PROMPT: prompts}, written)},
        "/v1/models": {
            "get": _read("The models that write texts.", [], responses({"application/json": {"schema": listed}}, errors))
        },
        "/v1/models/{name}": {
            "get": _read("A model.", [name], responses({"application/json": {"schema": _of("writer")}}, errors))
        },
    }


def _of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _read(summary: str, parameters: list[dict[str, Any]], responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _written(summary: str, models: list[str], own: dict[str, Any], responses: dict[str, Any]) -> dict[str, Any]:
    first, required = next(iter(own)), ["model"] if len(models) > 1 else []
    schema = {
        "type": "object",
        "properties": {"model": {"enum": models}, **own, **SETTINGS},
        "required": [*required, first],
        "additionalProperties": False,
    }
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "requestBody": body, "responses": responses}
