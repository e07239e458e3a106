"""From folders to a server that runs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.serve.app import application
from ftlit.serve.guard import State
from ftlit.serve.metrics import Metrics
from ftlit.serve.models import Model, Models
from ftlit.serve.server import Server, bound
from ftlit.serve.settings import Limits

BACKLOG = 2048  # connections that wait to be accepted


def run_server(
    folders: dict[str, Path],
    load: Callable[[Path], Predictor],
    address: tuple[str, int],
    limits: Limits,
    token: str | None,
    log_texts: bool,
    reload: bool,
    studio: Path | None = None,
) -> None:
    """Load models and serve them until a signal ends the process.

    Args:
        folders: The folder of each model by its name.
        load: Opens a folder.
        address: Host and port.
        limits: The limits.
        token: What clients must send, or None.
        log_texts: Whether the log has the rows of requests.
        reload: Whether newer runs are taken from the folders.
        studio: The folder whose runs and studies are shown.

    Raises:
        UserError: The port is taken, or a folder holds no run.
    """
    metrics, state = Metrics(), State(token, log_texts)
    limits = replace(limits, threads=limits.threads or torch.get_num_threads())
    with bound(*address) as socket:
        opening = partial(_in_one_thread, load)
        models = Models({name: Model(name, folder, opening, limits, metrics) for name, folder in folders.items()})
        app = application(models, limits, metrics, state, studio)
        server = Server(app, state, limits.timeout, partial(_reload, models, reload))
        try:
            socket.listen(BACKLOG)
        except OSError as error:
            raise UserError(f"--port {address[1]} was taken meanwhile: {error}; choose another") from None
        host, port = socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        served = [*models, *([f"the studio of {studio}"] if studio else [])]
        print(f"serving {', '.join(served)} at http://{shown}:{port}", flush=True)
        server.run([socket])


def _in_one_thread(load: Callable[[Path], Predictor], folder: Path) -> Predictor:
    """Open a folder without threads for computing beside those of the models.

    With more of them than cores in a process, OpenMP lets each sleep after every operation, and to wake them again takes longer
    than most operations on a few rows.
    """
    torch.set_num_threads(1)
    return load(folder)


def _reload(models: Models, always: bool, asked: bool) -> None:
    """Look for newer runs, if this is wanted always or was asked for by a signal."""
    for model in models.values() if always or asked else ():
        model.reload(again=asked)
