"""Errors of a server as problem details (RFC 9457), which say what is wrong and where, and hold no traceback."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
LONGEST = 400  # characters of a sentence, which may quote what was sent
OPENAI = "/v1/"  # beginning of the paths whose answers have the form of OpenAI's
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
GONE = 499  # the client closed the connection before its answer; no standard status, but a usual one


class ProblemError(Exception):
    """An error that ends a request.

    Args:
        status: The status of the response.
        detail: What is wrong, as a sentence.
        headers: Further headers of the response.
        **more: Further members of the problem, such as `errors`, the problems of single rows.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, shortened(detail), headers, more

    def response(self, path: str = "") -> Response:
        """The response to the client, who asked at a path."""
        if path.startswith(OPENAI):
            return Response(encoded(self.error()), self.status, self.headers, "application/json")
        content = {"type": "about:blank", "title": title(self.status), "status": self.status, "detail": self.detail}
        return Response(encoded(content | self.more), self.status, self.headers, MEDIA_TYPE)

    def error(self) -> dict[str, Any]:
        """The error as clients of OpenAI expect it."""
        kind = "server_error" if self.status >= 500 else KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": self.detail, "type": kind, "param": self.more.get("param"), "code": self.more.get("code")}}


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with one row of a request, or went wrong with it.

    Args:
        status: 422 if the row is wrong, 500 if the model failed.
        detail: What is wrong, as a sentence.
        column: The column that is wrong, if it is known.
    """

    status: int
    detail: str
    column: str | None = None

    def content(self) -> dict[str, Any]:
        """The problem as an object."""
        named = {} if self.column is None else {"column": self.column}
        return {"title": title(self.status), "status": self.status, **named, "detail": shortened(self.detail)}


def title(status: int) -> str:
    """The usual words for a status."""
    return "Client Closed Request" if status == GONE else HTTPStatus(status).phrase


def shortened(text: str) -> str:
    """A sentence of limited length, in one line."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def encoded(content: Any) -> bytes:
    """An object as JSON. Half a character, which JSON can contain and UTF-8 cannot, is written as an escape.

    Raises:
        ValueError: It holds a number that is NaN or infinite, which JSON cannot contain.
    """
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def as_json(content: Any) -> Response:
    """A response with an object as JSON."""
    return Response(encoded(content), media_type="application/json")
