"""Many requests to `ftlit serve`, some of them hostile: every good one must be answered rightly, and memory must stay flat.

    python experiments/serving/hostile.py --run runs/quickstart --input data/sst2/test.tsv --column sentence --requests 100000

One request in a hundred is too large, has wrong columns or broken JSON, comes too slowly, or its client hangs up. Writes
experiments/results/serving_hostile.md.
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from load import resident, server, texts_of
from tabulate import tabulate

import ftlit

SHARE, SEED = 0.01, 0
HANGING = 120  # seconds after which a request counts as hanging
MEASURED = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the requests after which memory is measured, beside the end
EXPECTED = {"too large": 413, "wrong columns": 422, "broken JSON": 400, "no JSON": 415, "a row of many that is wrong": 200}
HUNG_UP = ("hangs up in the middle", "hangs up before the answer", "stops in the middle")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(body: bytes, kind: str = "application/json", length: int | None = None) -> bytes:
    """The bytes of a request."""
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def hostile(kind: str, text: str) -> bytes:
    """A request of a hostile kind."""
    good = json.dumps({"text": text}).encode()
    if kind == "too large":
        return request(json.dumps({"text": text * 200_000}).encode()[:5_000_000])
    if kind == "wrong columns":
        return request(json.dumps({"txt": text}).encode())
    if kind == "broken JSON":
        return request(good[:-2])
    if kind == "no JSON":
        return request(good, "text/plain")
    if kind == "a row of many that is wrong":
        return request(json.dumps([text, {"text": ""}, 7, None, {"text": [text]}]).encode())
    return request(good) if kind == "hangs up before the answer" else request(good[:5], length=len(good))


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and the body of a response."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


class Clients:
    """Clients that share the requests.

    Args:
        port: Port of the server.
        texts: The texts that are asked for.
        expected: The right prediction for each.
        count: Number of requests.
    """

    def __init__(self, port: int, texts: list[str], expected: list[dict[str, Any]], count: int) -> None:
        self.port, self.texts, self.expected = port, texts, expected
        self.numbers, self.found = iter(range(count)), Counter[tuple[str, str]]()
        self.done = 0

    async def client(self, seed: int) -> None:
        """Ask until no request is left."""
        source = random.Random(seed)
        open_: Connection | None = None
        for number in self.numbers:
            kind = source.choice([*EXPECTED, *HUNG_UP]) if source.random() < SHARE else "good"
            i = number % len(self.texts)
            try:
                open_ = open_ or await asyncio.open_connection("127.0.0.1", self.port)
                outcome, keep = await asyncio.wait_for(self._ask(open_, kind, i), HANGING)
            except asyncio.TimeoutError:
                outcome, keep = "hangs", False
            except (OSError, asyncio.IncompleteReadError) as error:
                outcome, keep = type(error).__name__, False
            if not keep and open_ is not None:
                open_[1].close()
                open_ = None
            self.found[kind, outcome] += 1
            self.done += 1

    async def _ask(self, connection: Connection, kind: str, i: int) -> tuple[str, bool]:
        """What came of a request, and whether the connection can be used again."""
        reader, writer = connection
        if kind == "good":
            writer.write(request(json.dumps({"text": self.texts[i]}).encode()))
            status, body = await response(reader)
            return self._judged(status, json.loads(body), self.expected[i]), True
        writer.write(hostile(kind, self.texts[i]))
        if kind.startswith("hangs up"):
            await writer.drain()
            return "gone", False
        status, _ = await response(reader)
        return str(status), False

    def _judged(self, status: int, found: dict[str, Any], right: dict[str, Any]) -> str:
        if status != 200:
            return str(status)
        same = found["prediction"] == right["prediction"] and abs(found["score"] - right["score"]) <= 1e-5
        return "right" if same else "WRONG"


async def measured(clients: Clients, count: int, total: int, process: Any) -> list[float]:
    """Resident memory of the server after shares of the requests and at the end, in MiB."""
    working, found = asyncio.gather(*(clients.client(SEED + number) for number in range(count))), []
    for share in MEASURED:
        while clients.done < share * total:
            await asyncio.sleep(0.05)
        found.append(resident(process))
    await working
    return [*found, resident(process)]


def main(options: argparse.Namespace) -> None:
    """Ask, and write the report."""
    texts = texts_of(options.input, options.column)
    expected = ftlit.load(options.run)(texts)
    began = time.monotonic()
    with server("ftlit", options.run, "", "--timeout", "5") as (process, url):
        clients = Clients(int(url.split(":")[2].split("/")[0]), texts, expected, options.requests)
        memory = asyncio.run(measured(clients, options.clients, options.requests, process))
        alive = process.is_running()
    places = ", ".join(f"{share:.0%}" for share in MEASURED)
    rows = [[kind, outcome, number] for (kind, outcome), number in sorted(clients.found.items())]
    given = f"--run {options.run} --input {options.input} --column {options.column} --requests {options.requests}"
    report = f"""# Hostile requests

    python experiments/serving/hostile.py {given} --clients {options.clients}

{tabulate(rows, headers=["request", "outcome", "number"], tablefmt="github")}

A good request is right if its label and its score (to 1e-5) are those of `ftlit.load`. Resident memory of the server after
{places} of the requests and at the end: {", ".join(f"{value:.0f}" for value in memory)} MiB
(from the first to the last {memory[-1] / memory[0] - 1:+.1%}).
{time.monotonic() - began:.0f} s in all; the server {"still ran" if alive else "had ended"}. {os.cpu_count()} cores.
"""
    options.output.write_text(report)
    print(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="runs/quickstart")
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/serving_hostile.md"))
    main(parser.parse_args())
