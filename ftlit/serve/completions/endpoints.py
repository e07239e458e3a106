"""The paths under /v1."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ftlit.serve.bodies import read_json
from ftlit.serve.completions.answers import DONE, Answer, ChatAnswer, event
from ftlit.serve.completions.fields import Asked, asked_in
from ftlit.serve.completions.generator import MESSAGES, PROMPT, Generator
from ftlit.serve.completions.reply import Reply
from ftlit.serve.completions.writer import Event, Texts
from ftlit.serve.guard import NOTES
from ftlit.serve.models import Model, Models
from ftlit.serve.problems import ProblemError, as_json
from ftlit.serve.settings import Limits
from ftlit.serve.waiting import waited

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # a proxy should pass each event on at once


class Completions:
    """The endpoints that write texts.

    Args:
        models: The models.
        limits: The limits.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models, self.limits = models, limits

    async def chat_completions(self, request: Request) -> Response:
        """Reply in a conversation."""
        return await self._answer(request, MESSAGES)

    async def completions(self, request: Request) -> Response:
        """Continue prompts."""
        return await self._answer(request, PROMPT)

    async def list_writers(self, request: Request) -> Response:
        """The models that write texts."""
        return as_json({"object": "list", "data": [_described(model) for model in self.models.values() if _writes(model)]})

    async def writer(self, request: Request) -> Response:
        """One of these models."""
        return as_json(_described(self._find(request.path_params["name"])))

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/models", self.list_writers),
            Route("/v1/models/{name}", self.writer),
        ]

    async def _answer(self, request: Request, field: str) -> Response:
        asked = asked_in(await read_json(request, self.limits), field, self.limits)
        model = self._find(asked.model)
        _check(model, field)
        request.scope[NOTES] |= {"model": model.name, "rows": len(asked.asked), "texts": asked.asked}
        job = Texts(asked.asked, asked.settings, asked.stream)
        model.writer.submit(job)
        end, answer = self.limits.end(), ChatAnswer(model.name) if field == MESSAGES else Answer(model.name)
        try:
            first = await self._event(job, request, end)
            if not asked.stream:
                for _ in job.replies[1:]:
                    await self._event(job, request, end)
                return as_json(answer.response(job.replies))
        except BaseException:
            model.writer.cancel(job)
            raise
        return Stream(self._stream(job, request, asked, answer, first), partial(model.writer.cancel, job))

    def _find(self, name: str | None) -> Model:
        try:
            return self.models.find(name)
        except ProblemError as problem:
            problem.more |= {"param": "model", "code": "model_not_found" if name else None}
            raise

    async def _event(self, job: Texts, request: Request, end: float) -> Event:
        """The next event of a job.

        Raises:
            ProblemError: It is a problem, or takes too long, or nobody waits for it any more.
        """
        late = f"the text was not written within {self.limits.timeout:g} s; lower max_tokens, or set stream: true"
        found = await waited(job.events.get(), request, end, late)
        if isinstance(found[1], ProblemError):
            raise found[1]
        return found

    async def _stream(self, job: Texts, request: Request, asked: Asked, answer: Answer, first: Event) -> AsyncIterator[bytes]:
        more = {"usage": None} if asked.include_usage else {}
        for i in range(len(job.replies)):
            if (opening := answer.opening()) is not None:
                yield event(answer.chunk(i, opening, **more))
        left, found = len(job.replies), first
        try:
            while True:
                i, said = found
                if isinstance(said, Reply):
                    yield event(answer.chunk(i, answer.piece(""), said.reason, **more))
                    if not (left := left - 1):
                        break
                else:
                    yield event(answer.chunk(i, answer.piece(str(said)), **more))
                found = await self._event(job, request, self.limits.end())
        except ProblemError as problem:
            yield event(problem.error())
            return
        if asked.include_usage:
            yield event(answer.closing(job.replies))
        yield DONE


class Stream(StreamingResponse):
    """Events that are sent as they come.

    Args:
        events: The events.
        close: Called at the end, also if the client has gone.
    """

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        super().__init__(events, headers=HEADERS, media_type="text/event-stream")
        self.close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.close()


def _writes(model: Model) -> bool:
    generator = model.writer.generator
    return generator.chat is not None or generator.continues


def _described(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "ftlit"}


def _check(model: Model, field: str) -> None:
    """Check that a model can write what is asked for.

    Raises:
        ProblemError: It cannot.
    """
    generator: Generator = model.writer.generator
    kind, predict = type(generator.task).__name__, f"ask /models/{model.name}/predict"
    reason = None
    if not generator.writes:
        reason = f"is a {kind}, which writes no text; {predict}"
    elif field == MESSAGES and generator.chat is None:
        other = "send a prompt to /v1/completions" if generator.continues else predict
        reason = f"has not learned conversations; {other}"
    elif not generator.continues:
        columns = " and ".join(map(repr, generator.data.input_columns().values()))
        reason = f"needs the columns {columns}, more than a prompt; {predict}"
    if reason:
        raise ProblemError(400, f"the model {model.name!r} {reason}", param="model", code="model_not_supported")
