"""What happens to every request: who may ask, what is counted and logged, and that no error shows more than a sentence."""

import hmac
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftlit.serve.metrics import Metrics
from ftlit.serve.page.rendering import STATIC, sign_in
from ftlit.serve.problems import ProblemError
from ftlit.serve.queues.batcher import log_failure

OPEN = ("/health", "/ready")  # answered without a token, as are the files of pages
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FAILED = "the server failed on this request"
NOTES = "ftlit"  # key of a scope under which an endpoint notes what it did
log = logging.getLogger("ftlit.serve.requests")


@dataclass
class State:
    """The state of a server.

    Args:
        token: What a client must send, or None.
        log_texts: Whether the log has the rows of requests.
        all_ready: Says whether all processes of the server take requests.
        draining: Whether the server is about to end, and asks its clients to connect again elsewhere.
    """

    token: str | None = None
    log_texts: bool = False
    all_ready: Callable[[], bool] = lambda: True
    draining: bool = False


class Guard:
    """Checks, counts and logs the requests to an application.

    Args:
        app: The application.
        state: State of the server.
        metrics: Counters of the server.
    """

    def __init__(self, app: ASGIApp, state: State, metrics: Metrics) -> None:
        self.app, self.state, self.metrics = app, state, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        scope[NOTES] = {}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.state.draining:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        try:
            await self._answer(scope, receive, sending)
        except Exception as error:
            log_failure("a request", error)
            if status:
                raise  # the response has begun, so the connection is all that can still end
            await ProblemError(500, FAILED).response(scope["path"])(scope, receive, sending)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
            await self.app(scope, receive, send)
        except ProblemError as problem:
            shown = sign_in() if problem.status == 401 and _opens_page(scope) else problem.response(scope["path"])
            await shown(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Check the token, or without one that the client means this machine: a page in a browser may name another.

        Raises:
            ProblemError: The request may not be answered.
        """
        headers = dict(scope["headers"])
        if self.state.token is None:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            if name.strip("[]").lower() not in LOOPBACK and not name.startswith("127."):
                raise ProblemError(403, "this server answers requests to 127.0.0.1 and localhost alone")
            return
        given = headers.get(b"authorization", b"")
        kind, _, token = given.partition(b" ")
        is_open = scope["path"] in OPEN or scope["path"].startswith(STATIC)
        if is_open or (kind.lower() == b"bearer" and _same(token.strip(), self.state.token)):
            return
        raise ProblemError(401, "expected the header Authorization: Bearer with the token", {"WWW-Authenticate": "Bearer"})

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        name, notes = getattr(scope.get("endpoint"), "__name__", "other"), scope[NOTES]
        self.metrics.request(name, status, seconds)
        texts = notes.pop("texts", None)
        more = "".join(f" {key}={value}" for key, value in notes.items())
        shown = f" texts={json.dumps(texts)}" if self.state.log_texts and texts is not None else ""
        log.info("%s %s %s%s %.1f ms%s", scope["method"], name, status, more, 1000 * seconds, shown)


def _opens_page(scope: Scope) -> bool:
    """Whether a browser opens an address, to which it cannot send a token; the scripts of pages can."""
    headers = dict(scope["headers"])
    return scope["method"] == "GET" and b"authorization" not in headers and b"text/html" in headers.get(b"accept", b"")


def _same(given: bytes, token: str) -> bool:
    """Whether two tokens are equal; the time that this takes does not tell how much of them is."""
    return hmac.compare_digest(given, token.encode())


def as_problem(request: Request, error: Exception) -> Response:
    """The response to a problem, and to an error of the framework, such as an unknown path."""
    if isinstance(error, HTTPException):
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return ProblemError(error.status_code, detail, dict(error.headers or {})).response(request.url.path)
    return (error if isinstance(error, ProblemError) else ProblemError(500, FAILED)).response(request.url.path)
