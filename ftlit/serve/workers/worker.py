"""A worker: a process that loads the models, shares their weights with the other workers, and serves them."""

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path

from ftlit.errors import user_error
from ftlit.exports.predicting.predictor import Predictor
from ftlit.serve.running import Serving, start_log
from ftlit.serve.workers.board import Board
from ftlit.serve.workers.server import WorkerServer
from ftlit.serve.workers.weights import share_weights

# What a worker tells the supervisor, before other values: that it has loaded the models and waits for a word to begin, that it
# cannot load them and why, or that it needs memory for the weights of a folder with a hash.
LOADED, FAILED, WEIGHTS = "loaded", "failed", "weights"
OWN = (signal.SIGINT, signal.SIGHUP)  # of a terminal, which sends them to all processes; the supervisor passes them on


@dataclass(frozen=True)
class Seat:
    """The place of a worker among the others.

    Args:
        number: Its number.
        board: What the workers know of each other.
        listening: The socket of all workers.
        pipe: Leads to the supervisor.
    """

    number: int
    board: Board
    listening: socket.socket
    pipe: Connection


def run_worker(seat: Seat, serving: Serving) -> None:
    """Serve until the supervisor says that it is enough, or has gone.

    Args:
        seat: The place of the worker.
        serving: What is served.
    """
    for number in OWN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OWN)
    start_log(serving.log_requests)
    try:
        server = _server(seat, serving)
    except Exception as error:
        if (mistake := user_error(error)) is None:
            raise
        seat.pipe.send((FAILED, str(mistake)))
        return
    seat.pipe.send((LOADED,))
    try:
        seat.pipe.recv()
    except EOFError:
        return
    server.run([seat.listening])


def _server(seat: Seat, serving: Serving) -> WorkerServer:
    metrics, state = seat.board.metrics(seat.number), serving.state()
    state.all_ready = seat.board.all_ready
    models = serving.open(metrics, partial(_load_in_turn, serving.load, seat))
    app, look = serving.application(models, metrics, state), partial(serving.look, models)
    return WorkerServer(app, state, serving.limits.timeout, look, seat.board, seat.number, metrics)


def _load_in_turn(load: Callable[[Path], Predictor], seat: Seat, folder: Path) -> Predictor:
    """Open a folder and share its weights. Until then they are in memory for this worker alone, so one does it at a time."""
    with seat.board.turn():
        predictor = load(folder)
        share_weights(predictor.model, partial(_memory, seat.pipe, folder))
    return predictor


def _memory(pipe: Connection, folder: Path, digest: str) -> int:
    """The file descriptor of memory for weights, from the supervisor, which keeps it for workers that come later."""
    pipe.send((WEIGHTS, str(folder), digest))
    return recv_handle(pipe)
