"""The process that starts workers, starts those that died again, and passes signals on to them."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle

import torch

from ftlit.errors import UserError
from ftlit.serve.running import Serving, start_log
from ftlit.serve.server import bound, listen
from ftlit.serve.workers.board import Board
from ftlit.serve.workers.memory import POSSIBLE, reserve
from ftlit.serve.workers.server import AT_ONCE
from ftlit.serve.workers.worker import FAILED, LOADED, OWN, WEIGHTS, Seat, run_worker

TICK = 0.1  # seconds between two looks at signals
RETRY = 5.0  # seconds from the beginning of a worker until it is started again, so that one that always dies is not in a hurry
ENDS = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger("ftlit.serve")


def run_workers(serving: Serving, address: tuple[str, int], count: int, device: str | None) -> None:
    """Serve in several processes until a signal ends this one.

    Args:
        serving: What is served.
        address: Host and port.
        count: Number of workers.
        device: Device of the models, by default the GPU if there is one.

    Raises:
        UserError: The device is not a CPU, the port is taken, or a folder holds no run.
    """
    check_workers(count, device)
    start_log(serving.log_requests)
    with bound(*address) as listening:
        Supervisor(serving.with_threads(max(1, torch.get_num_threads() // count)), count, listening).run()


def check_workers(count: int, device: str | None) -> None:
    """Check that several workers are possible.

    Raises:
        UserError: They are not.
    """
    if count < 1:
        raise UserError(f"--workers must be at least 1, got {count}")
    if (device or ("cuda" if torch.cuda.is_available() else "cpu")) != "cpu":
        raise UserError(
            f"--workers {count}: on a GPU each worker would have a copy of the models of its own, and they would take turns; "
            "leave out --workers, or set --device cpu"
        )
    if not POSSIBLE:
        raise UserError(f"--workers {count} needs Linux, whose processes can share memory without a file; leave it out")


@dataclass
class Worker:
    """A worker as the supervisor knows it.

    Args:
        process: Its process.
        pipe: Leads to it.
        loaded: Whether it has loaded the models.
        serves: Whether it was told to begin.
        problem: Why it could not load them.
        silent: Whether it has closed its end of the pipe.
        begun: When it was told to begin, or was started.
    """

    process: BaseProcess
    pipe: Connection
    loaded: bool = False
    serves: bool = False
    problem: str = ""
    silent: bool = False
    begun: float = field(default_factory=time.monotonic)

    def how_it_ended(self) -> str:
        """How its process ended, after it did."""
        code = self.process.exitcode or 0
        if self.problem:
            return f"cannot load the models: {self.problem}"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


class Supervisor:
    """Keeps workers running. It has no models, and answers no requests.

    Args:
        serving: What is served.
        count: Number of workers.
        listening: The socket, which does not listen yet.
    """

    def __init__(self, serving: Serving, count: int, listening: socket.socket) -> None:
        self.serving, self.count, self.listening = serving, count, listening
        self.board = Board.reserve(count, len(serving.folders))
        self.workers: dict[int, Worker] = {}
        self.due: dict[int, float] = dict.fromkeys(range(count), 0.0)  # when workers are to be started
        self.weights: dict[str, tuple[str, int]] = {}  # hash and file descriptor of the newest weights of each folder
        self.signals: list[int] = []
        self.listens = self.ending = self.failed = False

    def run(self) -> None:
        """Start the workers, and see to them until a signal says that it is enough and all have ended.

        Raises:
            UserError: The models cannot be loaded.
            SystemExit: A worker died at the end.
        """
        try:
            with self._noted_signals():
                while self.workers or not self.ending:
                    self._start_due()
                    self._see_to_workers()
                    self._pass_on_signals()
        finally:
            for worker in self.workers.values():
                worker.process.kill()
                worker.process.join()
        if self.failed:
            raise SystemExit(1)

    @contextmanager
    def _noted_signals(self) -> Iterator[None]:
        noted = lambda number, frame: self.signals.append(number)  # noqa: E731
        before = {number: signal.signal(number, noted) for number in (*ENDS, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start_due(self) -> None:
        for number in [number for number, due in self.due.items() if due <= time.monotonic()]:
            del self.due[number]
            self._start(number)

    def _start(self, number: int) -> None:
        context = get_context("spawn")
        own, other = context.Pipe()
        seat = Seat(number, self.board, self.listening, other)
        process = context.Process(target=run_worker, args=(seat, self.serving), name=f"worker {number}")
        signal.pthread_sigmask(signal.SIG_BLOCK, OWN)  # which the process inherits, until it is ready for them
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, OWN)
        other.close()
        self.workers[number] = Worker(process, own)

    def _see_to_workers(self) -> None:
        """Hear what workers say, and notice which have ended."""
        pipes = [worker.pipe for worker in self.workers.values() if not worker.silent]
        found = wait([*pipes, *(worker.process.sentinel for worker in self.workers.values())], TICK)
        for number, worker in [*self.workers.items()]:
            if worker.pipe in found:
                self._hear(worker)
            if worker.process.sentinel in found:
                self._ended(number, worker)

    def _hear(self, worker: Worker) -> None:
        try:
            kind, *values = worker.pipe.recv()
        except (EOFError, OSError):
            worker.silent = True
            return
        if kind == WEIGHTS:
            with suppress(OSError):  # it died meanwhile
                send_handle(worker.pipe, self._memory(*values), worker.process.pid)
        worker.problem = values[0] if kind == FAILED else ""
        worker.loaded = worker.loaded or kind == LOADED
        if self.listens or (len(self.workers) == self.count and all(worker.loaded for worker in self.workers.values())):
            self._begin()

    def _memory(self, folder: str, digest: str) -> int:
        """Memory for weights of a folder. That of the weights before is freed once the last worker does without it."""
        known, descriptor = self.weights.get(folder, ("", -1))
        if known != digest:
            if known:
                os.close(descriptor)
            self.weights[folder] = digest, reserve("ftlit-weights")
        return self.weights[folder][1]

    def _begin(self) -> None:
        """Let workers serve that have loaded the models; at the beginning, when all have."""
        if not self.listens:
            listen(self.listening, f"{self.serving} by {self.count} workers")
            self.listens = True
        for worker in self.workers.values():
            if worker.loaded and not worker.serves and not self.ending:
                with suppress(OSError):  # it died meanwhile
                    worker.pipe.send("begin")
                worker.serves, worker.begun = True, time.monotonic()

    def _ended(self, number: int, worker: Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        del self.workers[number]
        self.board.note(number, ready=False)
        if self.ending:
            self.failed |= worker.serves and worker.process.exitcode not in (0, -signal.SIGTERM)  # the latter before it began
            return
        if not self.listens:
            raise UserError(worker.problem or f"a worker {worker.how_it_ended()} while it loaded the models")
        wait = max(0.0, worker.begun + RETRY - time.monotonic())
        name = f"worker {number} (process {worker.process.pid})"
        log.error("%s %s; it is started again in %.0f s", name, worker.how_it_ended(), wait)
        self.due[number] = time.monotonic() + wait

    def _pass_on_signals(self) -> None:
        while self.signals:
            number = self.signals.pop(0)
            if number not in ENDS:
                self._send(number)
            elif self.ending:
                self._send(AT_ONCE)
            else:
                self._end()

    def _send(self, number: int) -> None:
        """Send a signal to the workers that serve."""
        for worker in self.workers.values():
            if worker.serves and worker.process.pid is not None:
                os.kill(worker.process.pid, number)

    def _end(self) -> None:
        """Start no worker any more, and leave connections to those that serve, which answer them and end."""
        self.ending = True
        self.due.clear()
        self.listening.close()
        for worker in self.workers.values():
            if not worker.serves:
                worker.process.kill()
        self._send(signal.SIGTERM)
