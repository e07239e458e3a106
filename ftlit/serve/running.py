"""From folders to a server that runs."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ftlit.exports.predicting.predictor import Predictor
from ftlit.serve.app import application
from ftlit.serve.guard import Guard, State
from ftlit.serve.metrics import Metrics
from ftlit.serve.models import Model, Models
from ftlit.serve.server import Server, bound, listen
from ftlit.serve.settings import Limits


@dataclass(frozen=True)
class Serving:
    """What is served, and how.

    Args:
        folders: The folder of each model by its name.
        load: Opens a folder.
        limits: The limits.
        token: What clients must send, or None.
        log_requests: Whether the log has a line for each request.
        log_texts: Whether these lines have the rows.
        reload: Whether newer runs are taken from the folders.
        studio: The folder whose runs and studies are shown.
    """

    folders: dict[str, Path]
    load: Callable[[Path], Predictor]
    limits: Limits
    token: str | None = None
    log_requests: bool = True
    log_texts: bool = False
    reload: bool = False
    studio: Path | None = None

    def __str__(self) -> str:
        return ", ".join([*self.folders, *([f"the studio of {self.studio}"] if self.studio else [])])

    def with_threads(self, threads: int) -> "Serving":
        """The same, with a number of threads for each model unless one was chosen."""
        return replace(self, limits=replace(self.limits, threads=self.limits.threads or threads))

    def open(self, metrics: Metrics, load: Callable[[Path], Predictor]) -> Models:
        """Open the models.

        Raises:
            UserError: A folder holds no run.
        """
        opening = partial(_in_one_thread, load)
        return Models({name: Model(name, folder, opening, self.limits, metrics) for name, folder in self.folders.items()})

    def state(self) -> State:
        """The state of a server at its beginning."""
        return State(self.token, self.log_texts)

    def application(self, models: Models, metrics: Metrics, state: State) -> Guard:
        """The application that answers with models."""
        return application(models, self.limits, metrics, state, self.studio)

    def look(self, models: Models, asked: bool) -> None:
        """Look for newer runs, if this is wanted always or was asked for by a signal."""
        for model in models.values() if self.reload or asked else ():
            model.reload(again=asked)


def run_server(serving: Serving, address: tuple[str, int]) -> None:
    """Load models and serve them in this process until a signal ends it.

    Args:
        serving: What is served.
        address: Host and port.

    Raises:
        UserError: The port is taken, or a folder holds no run.
    """
    start_log(serving.log_requests)
    serving, metrics, state = serving.with_threads(torch.get_num_threads()), Metrics(), serving.state()
    with bound(*address) as socket:
        models = serving.open(metrics, serving.load)
        server = Server(
            serving.application(models, metrics, state), state, serving.limits.timeout, partial(serving.look, models)
        )
        listen(socket, str(serving))
        server.run([socket])


def _in_one_thread(load: Callable[[Path], Predictor], folder: Path) -> Predictor:
    """Open a folder without threads for computing beside those of the models.

    With more of them than cores in a process, OpenMP lets each sleep after every operation, and to wake them again takes longer
    than most operations on a few rows.
    """
    torch.set_num_threads(1)
    return load(folder)


def start_log(requests: bool) -> None:
    """Write the log to standard error: a line for each request, and what goes wrong.

    Args:
        requests: Whether requests have lines.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("ftlit.serve")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    logging.getLogger("ftlit.serve.requests").setLevel(logging.INFO if requests else logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # its errors quote what the application raised
