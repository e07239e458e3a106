"""A server inside the process of a test: models without training, and requests without a socket."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch

import ftlit
from ftlit.exports.predicting.predictor import Predictor
from ftlit.serve.app import application
from ftlit.serve.guard import Guard, State
from ftlit.serve.metrics import Metrics
from ftlit.serve.models import Model, Models
from ftlit.serve.settings import Limits


def untrained(task: str, data: ftlit.TaskData, **options: Any) -> Predictor:
    """The predictor of a task whose new weights come from a seed."""
    torch.manual_seed(0)
    model = getattr(ftlit, task)(backbone=data.backbone, **data.task_arguments(), **options)
    model.configure_model()
    return Predictor(model, data, "cpu")


@dataclass
class Served:
    """A server with one model or several.

    Args:
        app: The application.
        models: Its models.
        state: Its state.
        metrics: Its counters.
    """

    app: Guard
    models: Models
    state: State
    metrics: Metrics

    def client(self) -> httpx.AsyncClient:
        """A client that speaks to the application without a socket."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The response to one request."""

        async def asking() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **request)

        return run(asking())

    def predict(self, body: Any, path: str = "/predict") -> httpx.Response:
        """The response to rows."""
        return self.ask("POST", path, json=body)

    def counted(self, line: str) -> float:
        """A value of the metrics."""
        return float(self.metrics.text().split(f"\n{line} ")[1].split("\n")[0])


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """What asynchronous work returns, within a minute."""
    return asyncio.run(asyncio.wait_for(work, 60))


@contextmanager
def serving(
    predictors: Predictor | dict[str, Predictor], state: State | None = None, studio: Path | None = None, **limits: Any
) -> Iterator[Served]:
    """A server whose models are started, and closed at the end."""
    named = predictors if isinstance(predictors, dict) else {"model": predictors}
    metrics, state, settings = Metrics(), state or State(), Limits(**limits)
    settings.check()
    models = Models({name: Model(name, Path(name), lambda path: named[path.name], settings, metrics) for name in named})
    for model in models.values():
        model.start()
    try:
        yield Served(application(models, settings, metrics, state, studio), models, state, metrics)
    finally:
        for model in models.values():
            model.close()
