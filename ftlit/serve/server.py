"""The server itself: its socket, its signals, and how it ends."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import SIGHUP, SIGINT, SIGTERM, Signals, signal
from types import FrameType
from typing import Any

import uvicorn

from ftlit.errors import UserError
from ftlit.serve.guard import Guard, State

DRAIN = 1.0  # seconds between a signal and the end of listening, in which clients are told to connect elsewhere
LAST, TICK = 0.5, 0.05  # seconds for which the last connections may send a request, and between two looks
KEEP_ALIVE = 75  # seconds
BACKLOG = 2048  # connections that wait to be accepted
log = logging.getLogger("ftlit.serve")


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet.

    Raises:
        UserError: The address cannot be used.
    """
    if not 0 <= port < 65536:
        raise UserError(f"--port must be from 0 to 65535, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise UserError(f"--host {host} --port {port} cannot be used: {error}; choose another with --port") from None
    return found


def listen(bound_socket: socket.socket, served: str) -> None:
    """Let a socket take connections, and say where it does.

    Args:
        bound_socket: The socket.
        served: What is served.

    Raises:
        UserError: The port was taken meanwhile.
    """
    host, port = bound_socket.getsockname()[:2]
    try:
        bound_socket.listen(BACKLOG)
    except OSError as error:
        raise UserError(f"--port {port} was taken meanwhile: {error}; choose another") from None
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {served} at http://{shown}:{port}", flush=True)


class Server(uvicorn.Server):
    """A server that ends once it has answered what it accepted, and closes connections on which nothing comes or goes.

    Args:
        app: The application.
        state: Its state.
        seconds: Time that a client may take to send a request, or to read a response.
        reload: Looks for newer runs; its argument is whether a signal asked for it. Called every second, in a thread.
    """

    def __init__(self, app: Guard, state: State, seconds: float, reload: Callable[[bool], None]) -> None:
        options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "ws": "none"}
        super().__init__(uvicorn.Config(app, timeout_keep_alive=KEEP_ALIVE, **options))
        self.state, self.seconds, self.reload = state, seconds, reload
        self._end: float | None = None
        self._hung_up, self._looking = False, asyncio.Lock()
        self._stuck: dict[Any, float] = {}  # since when a connection waits for its client

    def handlers(self) -> dict[Signals, Any]:
        """What is done with signals."""
        return {SIGTERM: self.handle_exit, SIGINT: self.handle_exit, SIGHUP: self._hang_up}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal(number, handler) for number, handler in self.handlers().items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.state.draining:
            self.should_exit = self.force_exit = True
        self.state.draining = True
        self._end = time.monotonic() + DRAIN

    def _hang_up(self, sig: int, frame: FrameType | None) -> None:
        self._hung_up = True

    async def on_tick(self, counter: int) -> bool:
        if self._end is not None and time.monotonic() >= self._end:
            self.should_exit = True
        if counter % 10 == 0:
            self._close_stuck()
            self._look(self._hung_up)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        late = [connection for listening in sockets or [] for connection in _accepted(listening)]
        for server in self.servers:  # at once, so that no connection comes in between, which the system would reset
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in late:
            await asyncio.get_running_loop().connect_accepted_socket(self.protocol, connection)
        for _ in range(int(LAST / TICK)):  # a request may be on its way
            if not self.server_state.connections:
                break
            await asyncio.sleep(TICK)
        await super().shutdown(sockets)

    def protocol(self) -> asyncio.Protocol:
        """What speaks HTTP on a connection."""
        kind: Any = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _look(self, asked: bool) -> None:
        if not self._looking.locked() and not self.state.draining:
            self._hung_up = False
            self._task = asyncio.get_running_loop().create_task(self._reload(asked))

    async def _reload(self, asked: bool) -> None:
        async with self._looking:
            await asyncio.to_thread(self.reload, asked)

    def _close_stuck(self) -> None:
        """Close connections whose client has not sent a whole request, or not read its response, for too long."""
        now = time.monotonic()
        waiting = {connection for connection in self.server_state.connections if _waits_for_client(connection)}
        self._stuck = {connection: self._stuck.get(connection, now) for connection in waiting}
        for connection, since in self._stuck.items():
            if now - since > self.seconds:
                connection.transport.abort()


def _accepted(listening: socket.socket) -> list[socket.socket]:
    """The connections of a listening socket that nobody has accepted yet."""
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(listening.accept()[0])
    return found


def _waits_for_client(connection: Any) -> bool:
    """Whether a connection has no request in work, and is not kept open between two, or its client does not read."""
    idle = connection.cycle is None or connection.cycle.response_complete
    return (idle and connection.timeout_keep_alive_task is None) or connection.flow.write_paused
