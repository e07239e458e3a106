"""The paths of a server and what they answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ftlit.serve.bodies import question, read_json
from ftlit.serve.completions.endpoints import Completions
from ftlit.serve.guard import NOTES, Guard, State, as_problem
from ftlit.serve.metrics import Metrics
from ftlit.serve.models import Model, Models
from ftlit.serve.openapi import document
from ftlit.serve.page.views import Page
from ftlit.serve.problems import ProblemError, as_json
from ftlit.serve.queues.batcher import Rows
from ftlit.serve.settings import Limits
from ftlit.serve.studio.views import HOME, Studio
from ftlit.serve.waiting import waited

PROMETHEUS = "text/plain; version=0.0.4"


class Endpoints:
    """The endpoints of a server.

    Args:
        models: The models.
        limits: The limits.
        metrics: The counters.
        state: The state of the server.
    """

    def __init__(self, models: Models, limits: Limits, metrics: Metrics, state: State) -> None:
        self.models, self.limits, self.metrics, self.state = models, limits, metrics, state

    async def predict(self, request: Request) -> Response:
        """Predict for the rows in the body."""
        model = self._model(request)
        body = await read_json(request, self.limits)
        asked = question(body, request.query_params.get("scores"), self.limits, model.columns)
        request.scope[NOTES] |= {"model": model.name, "rows": len(asked.rows), "texts": asked.rows}
        job = Rows(asked.rows, asked.scores)
        if asked.rows:
            model.batcher.submit(job)
            await self._finished(model, job, request)
        try:
            return as_json(asked.answer(job.answers))
        except ValueError:
            raise ProblemError(500, "the model gave a number that is NaN or infinite") from None

    def _model(self, request: Request) -> Model:
        return self.models.find(request.path_params.get("name", request.query_params.get("model")))

    async def _finished(self, model: Model, job: Rows, request: Request) -> None:
        """Wait for the answers of a job.

        Raises:
            ProblemError: They take too long, or nobody waits for them any more.
        """
        late = f"the request was not answered within {self.limits.timeout:g} s"
        try:
            await waited(job.done, request, self.limits.end(), late)
        except ProblemError:
            model.batcher.cancel(job)
            raise

    async def schema(self, request: Request) -> Response:
        """The columns, labels and limits of a model."""
        return as_json(self._model(request).schema())

    async def list_models(self, request: Request) -> Response:
        """The names and tasks of the models."""
        listed = [{"model": name, "task": type(model.predictor.model).__name__} for name, model in self.models.items()]
        return as_json({"models": listed})

    async def health(self, request: Request) -> Response:
        """Whether the server runs."""
        return as_json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether the server takes requests."""
        if self.state.draining or not self.state.all_ready():
            raise ProblemError(503, "the server is about to end" if self.state.draining else "a worker is being started")
        return as_json({"status": "ready"})

    async def metrics_text(self, request: Request) -> Response:
        """The counters in the text format of Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type=PROMETHEUS)

    async def openapi(self, request: Request) -> Response:
        """The description of the server for other programs."""
        return as_json(document(self.models))

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/models/{name}/predict", self.predict, methods=["POST"]),
            Route("/models", self.list_models),
            Route("/models/{name}/schema", self.schema),
            Route("/schema", self.schema),
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics_text),
            Route("/openapi.json", self.openapi),
        ]


def application(models: Models, limits: Limits, metrics: Metrics, state: State, studio: Path | None = None) -> Guard:
    """The application of a server. It answers what it has accepted before it ends.

    Args:
        models: The models.
        limits: The limits.
        metrics: The counters.
        state: The state of the server.
        studio: The folder whose runs and studies are shown.
    """

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        for model in models.values():
            model.start()
        yield
        for model in models.values():
            await asyncio.to_thread(model.close)

    pages = [*Page(models, HOME if studio else None).routes(), *(Studio(studio, bool(models)).routes() if studio else ())]
    answers = [*Endpoints(models, limits, metrics, state).routes(), *Completions(models, limits).routes()]
    routes = [*answers, *pages]
    app = Starlette(
        routes=routes, lifespan=life, exception_handlers=dict.fromkeys((HTTPException, ProblemError, Exception), as_problem)
    )
    return Guard(app, state, metrics)
