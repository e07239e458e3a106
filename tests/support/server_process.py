"""A server in a process of its own, and clients that note what is lost."""

import http.client
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.support.command_line import start


def serve(*args: object) -> list[str]:
    """Arguments of the command."""
    return ["serve", *map(str, args)]


@contextmanager
def served(*args: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process, and its port."""
    process = start(serve(*args, "--port", 0, "--log_requests", "false"))
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        assert line.startswith("serving "), line + process.stdout.read()  # type: ignore[union-attr]
        yield process, int(line.rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def ask(connection: http.client.HTTPConnection, text: str) -> dict[str, object]:
    """The prediction for a text."""
    connection.request("POST", "/predict", json.dumps(text), {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return dict(json.loads(response.read()))


def get(port: int, path: str) -> tuple[int, str]:
    """The status and the content of a page, by a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def metrics(port: int) -> str:
    """The counters of a server."""
    return get(port, "/metrics")[1]


def counted(port: int, line: str) -> int:
    """A counter of a server, 0 if it is not there yet."""
    found = re.search(rf"^{re.escape(line)} (\d+)$", metrics(port), re.MULTILINE)
    return int(found[1]) if found else 0


def wait_until(fact: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a fact, which must come within some seconds."""
    limit = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < limit
        time.sleep(0.1)


class Load:
    """Clients that ask without pause, each by one connection as long as it is open, until the server listens no more.

    Args:
        port: Port of the server.
        expected: Predictions by their texts.
        count: Number of clients.
    """

    def __init__(self, port: int, expected: dict[str, object], count: int = 8) -> None:
        self.port, self.expected = port, expected
        self.answered, self.lost, self._given_up = [0] * count, list[str](), False
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self._given_up = kind is not None
        for thread in self._threads:
            thread.join(60)

    def _ask(self, number: int) -> None:
        connection, texts = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30), [*self.expected]
        while not self._given_up:
            try:
                connection.connect()
            except ConnectionError:
                return  # it does not listen any more
            try:
                while connection.sock and not self._given_up:
                    text = texts[self.answered[number] % len(texts)]
                    assert ask(connection, text)["prediction"] == self.expected[text]
                    self.answered[number] += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.lost.append(repr(error))
                return
