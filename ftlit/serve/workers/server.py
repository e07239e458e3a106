"""The server of a worker, which shares its listening socket with others."""

import asyncio
import os
import socket
from collections.abc import Callable
from signal import SIG_IGN, SIGINT, SIGTERM, SIGUSR1, Signals
from types import FrameType
from typing import Any

from ftlit.serve.guard import Guard, State
from ftlit.serve.metrics import Metrics
from ftlit.serve.server import Server
from ftlit.serve.workers.board import Board

AT_ONCE = SIGUSR1  # ends a worker without the answers to what it accepted
STAND_BACK, RECOVER = 0.002, 1.0  # seconds: in which another worker can accept a connection; until files can be opened again


class WorkerServer(Server):
    """A server that accepts connections one by one, as long as no other worker has fewer.

    uvicorn would accept all that wait at once, so that one worker could get the connections of all clients, which they keep.

    Args:
        app: The application.
        state: Its state.
        seconds: Time that a client may take to send a request, or to read a response.
        reload: Looks for newer runs.
        board: What the workers know of each other.
        number: Number of this one.
        metrics: Counters of this one.
    """

    def __init__(
        self,
        app: Guard,
        state: State,
        seconds: float,
        reload: Callable[[bool], None],
        board: Board,
        number: int,
        metrics: Metrics,
    ) -> None:
        super().__init__(app, state, seconds, reload)
        self.board, self.number, self.metrics = board, number, metrics
        self._parent, self._begun = os.getppid(), set[asyncio.Task[Any]]()

    def handlers(self) -> dict[Signals, Any]:
        # SIGINT comes from a terminal and SIGTERM from some managers to all processes, beside what the supervisor sends.
        return {**super().handlers(), SIGINT: SIG_IGN, SIGTERM: self._end_once, AT_ONCE: self._end_at_once}

    def _end_once(self, sig: int, frame: FrameType | None) -> None:
        if not self.state.draining:
            self.handle_exit(sig, frame)

    def _end_at_once(self, sig: int, frame: FrameType | None) -> None:
        self._end_once(sig, frame)
        self.handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listening in sockets or []:
            listening.setblocking(False)
            self._watch(listening)
        self._note()

    async def on_tick(self, counter: int) -> bool:
        if os.getppid() != self._parent:  # nobody is left to tell this worker to end
            self._end_once(SIGTERM, None)
        self._note()
        self.metrics.publish()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in sockets or []:
            asyncio.get_running_loop().remove_reader(listening)
        self.board.note(self.number, ready=False)
        await super().shutdown(sockets)

    def _connections(self) -> int:
        return len(self.server_state.connections) + len(self._begun)

    def _note(self) -> None:
        self.board.note(self.number, not self.should_exit, self._connections())

    def _watch(self, listening: socket.socket) -> None:
        """Look for connections, unless the server has ended meanwhile."""
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listening, self._come, listening)

    def _come(self, listening: socket.socket) -> None:
        """Accept a connection, or leave it for a moment to a worker that has fewer."""
        self._note()
        if self._connections() <= self.board.fewest():
            self._accept(listening)
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(STAND_BACK, self._come_after_others, listening)

    def _come_after_others(self, listening: socket.socket) -> None:
        if not self.should_exit:
            self._watch(listening)
            self._accept(listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster
        except OSError:  # there are too many open files
            loop.remove_reader(listening)
            loop.call_later(RECOVER, self._watch, listening)
            return
        connection.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(self.protocol, connection))
        self._begun.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._begun.discard(task)
        self._note()
