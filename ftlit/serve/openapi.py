"""The description of a server for other programs (OpenAPI 3.1), made from the columns of its models."""

from importlib.metadata import version
from typing import Any

from ftlit.serve.completions.description import SCHEMAS, described
from ftlit.serve.models import Model, Models
from ftlit.serve.problems import MEDIA_TYPE, title

PROBLEMS = (400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)
PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "title", "status", "detail"],
}
PREDICTION = {
    "type": "object",
    "description": "A prediction, as `ftlit predict` writes it, or the problem of this row alone.",
    "properties": {
        "id": {},
        "prediction": {},
        "abstained": {"type": "boolean"},
        "set": {"type": "array"},
        "problem": {"type": "object"},
    },
    "required": ["id"],
}
SCORES = {"name": "scores", "in": "query", "schema": {"type": "boolean"}, "description": "Include the scores of all labels."}


def document(models: Models) -> dict[str, Any]:
    """The description of a server."""
    only = next(iter(models)) if len(models) == 1 else None
    named = {"name": "model", "in": "query", "required": only is None, "schema": {"enum": list(models)}}
    paths = {f"/models/{name}/predict": {"post": _predict(f"Predict with {name}.", [_of(name)], [SCORES])} for name in models}
    if models:
        every = [_of(name) for name in models]
        paths["/predict"] = {"post": _predict("Predict for one row or several.", every, [named, SCORES])}
    paths["/schema"] = {"get": _get("The columns, labels and limits of a model.", [named])}
    paths["/models"] = {"get": _get("The models of this server.")}
    paths["/health"] = {"get": _get("Whether the server runs.", secure=False)}
    paths["/ready"] = {"get": _get("Whether the server takes requests.", secure=False)}
    paths["/metrics"] = {"get": _get("Counters in the text format of Prometheus.", kind="text/plain")}
    paths |= described(list(models), responses)
    rows = {f"{name}.row": row(model) for name, model in models.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ftlit serve", "version": version("ftlit")},
        "paths": paths,
        "components": {
            "schemas": {**rows, **SCHEMAS, "prediction": PREDICTION, "problem": PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def row(model: Model) -> dict[str, Any]:
    """The schema of a row of a model."""
    schema = model.schema()
    kept = {"type": "object", "properties": {"id": {}, **schema["columns"]}, "required": schema["required"]}
    return {"anyOf": [kept, {"type": "string"}]} if schema["plain_text"] else kept


def _of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}.row"}


def _predict(summary: str, rows: list[dict[str, Any]], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    one = rows[0] if len(rows) == 1 else {"anyOf": rows}
    many = {"type": "array", "items": one}
    whole = {
        "type": "object",
        "properties": {"rows": many, "scores": {"type": "boolean"}},
        "required": ["rows"],
        "additionalProperties": False,
    }
    prediction = {"$ref": "#/components/schemas/prediction"}
    told = {"type": "array", "items": prediction}
    answers = {"type": "object", "properties": {"predictions": told}, "required": ["predictions"]}
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": [whole, many, one]}}}},
        "responses": _responses({"anyOf": [answers, told, prediction]}),
    }


def _get(
    summary: str, parameters: list[dict[str, Any]] | None = None, secure: bool = True, kind: str = "application/json"
) -> dict[str, Any]:
    found = {"summary": summary, "parameters": parameters or [], "responses": _responses({}, kind)}
    return found if secure else {**found, "security": [{}]}


def _responses(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return responses({kind: {"schema": schema}}, {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/problem"}}})


def responses(content: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    """The responses of a path: what it answers, and the form of its errors, by media type."""
    return {
        "200": {"description": "OK", "content": content},
        **{str(status): {"description": title(status), "content": problem} for status in PROBLEMS},
    }
