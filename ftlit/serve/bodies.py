"""What a request asks: its body, its rows, and the form of its answer."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from starlette.requests import ClientDisconnect, Request

from ftlit.serve.problems import GONE, ProblemError, RowProblem
from ftlit.serve.settings import Limits

ROWS, SCORES = "rows", "scores"  # keys of a body with several rows


@dataclass(frozen=True)
class Question:
    """The rows of a request.

    Args:
        rows: Texts or rows.
        scores: Whether to include the scores of all labels.
        form: Whether the body is an object with `rows`, a `list` of rows, or `one` row; the answer has the same form.
    """

    rows: list[Any]
    scores: bool
    form: Literal["rows", "list", "one"]

    def answer(self, answers: list[dict[str, Any] | RowProblem]) -> Any:
        """The content of the response.

        Raises:
            ProblemError: No row could be answered.
        """
        problems = [(i, found) for i, found in enumerate(answers) if isinstance(found, RowProblem)]
        if problems and len(problems) == len(answers):
            first, status = problems[0][1], max(found.status for _, found in problems)
            errors = [{"row": i, **found.content()} for i, found in problems]
            detail = first.detail if len(answers) == 1 else f"none of the {len(answers)} rows was answered: {first.detail}"
            raise ProblemError(status, detail, errors=errors)
        told = [self._told(i, found) for i, found in enumerate(answers)]
        return {"predictions": told} if self.form == "rows" else told if self.form == "list" else told[0]

    def _told(self, i: int, found: dict[str, Any] | RowProblem) -> dict[str, Any]:
        if not isinstance(found, RowProblem):
            return found
        row = self.rows[i]
        return {"id": row.get("id", i) if isinstance(row, dict) else i, "problem": found.content()}


async def read_json(request: Request, limits: Limits) -> Any:
    """The body of a request.

    Raises:
        ProblemError: It is too large, comes too slowly, is of another kind, or is not valid JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, f"expected content-type: application/json, got {kind or 'none'}")
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise ProblemError(415, f"the body is encoded as {coding}; send it as it is")
    if (length := request.headers.get("content-length", "")).isdigit() and int(length) > limits.max_body:
        _too_large(limits)
    try:
        body = await asyncio.wait_for(_body(request, limits), limits.timeout)
    except asyncio.TimeoutError:
        raise ProblemError(408, f"the body did not come within {limits.timeout:g} s", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise ProblemError(GONE, "the connection was closed before the body was there") from None
    try:
        return json.loads(body, parse_constant=_not_json)
    except RecursionError:
        raise ProblemError(400, "the body is not usable: its lists and objects are too deep") from None
    except ValueError as error:
        raise ProblemError(400, f"the body is not valid JSON: {error}") from None


async def _body(request: Request, limits: Limits) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        if (size := size + len(part)) > limits.max_body:
            _too_large(limits)
    return b"".join(parts)


def _too_large(limits: Limits) -> NoReturn:
    detail = f"the body has more than {limits.max_body} bytes, which is what this server takes; send fewer rows at once"
    raise ProblemError(413, detail, {"Connection": "close"})


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def question(body: Any, scores: str | None, limits: Limits, columns: set[str]) -> Question:
    """The rows that a body holds.

    Args:
        body: The parsed body: a row, a list of rows, or an object with `rows`.
        scores: The value of `scores` in the URL.
        limits: Limits of the server.
        columns: Input columns of the model. An object with `rows` is a row if that is one of them.

    Raises:
        ProblemError: The body is none of these, or has too many rows.
    """
    asked = _flag(scores)
    form: Literal["rows", "list", "one"] = "list" if isinstance(body, list) else "one"
    rows = body if isinstance(body, list) else [body]
    if isinstance(body, dict) and ROWS in body and ROWS not in columns:
        if unknown := sorted(body.keys() - {ROWS, SCORES}):
            raise ProblemError(422, f"beside {ROWS} there may be {SCORES}, got {unknown[0]!r}", errors=[{"key": unknown[0]}])
        if not isinstance(body[ROWS], list):
            raise ProblemError(422, f"{ROWS} should be a list of rows", errors=[{"key": ROWS}])
        if not isinstance(body.get(SCORES, False), bool):
            raise ProblemError(422, f"{SCORES} should be true or false", errors=[{"key": SCORES}])
        form, rows, asked = "rows", body[ROWS], body.get(SCORES, asked)
    if len(rows) > limits.max_rows:
        raise ProblemError(413, f"the request has {len(rows)} rows; this server takes {limits.max_rows} at once")
    return Question(rows, asked, form)


def _flag(value: str | None) -> bool:
    if value not in (None, "true", "false"):
        raise ProblemError(422, f"{SCORES} in the URL should be true or false, got {value!r}", errors=[{"key": SCORES}])
    return value == "true"
