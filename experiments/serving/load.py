"""`ftlit serve` under load, beside transformers' pipeline behind plain FastAPI and behind LitServe, in turn within one call.

    python -m ftlit export --run runs/quickstart --output exported
    python experiments/serving/load.py --run runs/quickstart --exported exported --input data/sst2/test.tsv --column sentence

All serve the same model on the same cores, which the clients share. Needs wrk, fastapi and litserve. Writes
experiments/results/serving.md.
"""

import argparse
import csv
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil
from tabulate import tabulate

from ftlit.runs.record import hardware, versions

HERE = Path(__file__).parent
KINDS = {"ftlit": "ftlit serve", "pipeline": "pipeline, FastAPI", "litserve": "pipeline, LitServe"}
PATIENCE = 120  # seconds until a server must answer


def texts_of(file: Path, column: str) -> list[str]:
    """The texts of a file: a column of a tsv or csv, or its lines."""
    lines = file.read_text("utf-8").splitlines()
    if file.suffix not in (".tsv", ".csv"):
        return [line for line in lines if line.strip()]
    return [row[column] for row in csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ",")]


def command(kind: str, run: str, folder: str, port: int, *more: str) -> list[str]:
    """The command that starts a server."""
    if kind == "ftlit":
        return [sys.executable, "-m", "ftlit", "serve", "--run", run, "--port", str(port), "--log_requests", "false", *more]
    script = ["peers.py", kind] if kind == "pipeline" else ["behind_litserve.py"]
    return [sys.executable, str(HERE / script[0]), *script[1:], folder, str(port)]


@contextmanager
def server(kind: str, run: str, folder: str, *more: str) -> Iterator[tuple[psutil.Process, str]]:
    """A server that has answered once, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/predict"
    process = subprocess.Popen(
        command(kind, run, folder, port, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        limit = time.monotonic() + PATIENCE
        while not answers(url):
            assert process.poll() is None, f"{kind} ended"
            assert time.monotonic() < limit, f"{kind} does not answer"
            time.sleep(0.2)
        yield psutil.Process(process.pid), url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether a server answers."""
    request = urllib.request.Request(url, b'{"text": "some words"}', {"content-type": "application/json"})
    try:
        return bool(urllib.request.urlopen(request, timeout=10).status == 200)
    except (urllib.error.URLError, OSError):
        return False


def told(args: list[str], texts: list[str]) -> Any:
    """What a script of this folder prints last, given the texts."""
    command = [sys.executable, str(HERE / args[0]), *args[1:]]
    done = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def clients(url: str, count: int, seconds: float, texts: list[str]) -> dict[str, Any]:
    """What the clients of wrk saw: requests, seconds, the 50th, 95th and 99th percentile of milliseconds, and errors."""
    with NamedTemporaryFile("w", suffix=".jsonl") as bodies:
        bodies.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        bodies.flush()
        asked = ["-t1", f"-c{count}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(HERE / "ask.lua"), url]
        environment = {**os.environ, "BODIES": bodies.name}
        done = subprocess.run(["wrk", *asked], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def resident(process: psutil.Process) -> float:
    """Resident memory of a process and its children, in MiB."""
    return sum(part.memory_info().rss for part in [process, *process.children(recursive=True)]) / 2**20


def percentiles(milliseconds: list[float]) -> list[float]:
    """The 50th, 95th and 99th percentile."""
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return [cuts[49], cuts[94], cuts[98]]


Rates = dict[tuple[str, int], float]  # rows a second of a server with a number of clients


def measured(options: argparse.Namespace, texts: list[str], folder: str) -> tuple[list[list[Any]], Rates]:
    """The table, and the rows a second of each server with each number of clients."""
    table, rates = [], {}
    for count in options.clients:
        for kind, name in KINDS.items():
            with server(kind, options.run, folder) as (process, url):
                clients(url, count, min(options.seconds, 5), texts)  # warm up
                found = clients(url, count, options.seconds, texts)
                memory = resident(process)
            rates[kind, count] = found["requests"] / found["seconds"]
            errors = ", ".join(f"{number} {error}" for error, number in found["errors"].items() if number) or "0"
            shown = [f"{value:.1f}" for value in found["milliseconds"]]
            table.append([count, name, f"{rates[kind, count]:.0f}", *shown, errors, f"{memory:.0f}"])
            print(*table[-1], flush=True)
    return table, rates


def alone(options: argparse.Namespace, texts: list[str], folder: str) -> list[str]:
    """Latency of one client of ftlit beside a bare forward pass, in turn."""
    own, bare, part = list[list[float]](), list[list[float]](), options.seconds / 4
    with server("ftlit", options.run, folder) as (_, url):
        clients(url, 1, part, texts)
        for _ in range(4):
            own.append(clients(url, 1, part, texts)["milliseconds"])
            bare.append(percentiles(told(["peers.py", "bare", folder, str(part)], texts)))
    pairs = [[statistics.median(turn) for turn in zip(*turns, strict=True)] for turns in (own, bare)]
    return [f"{a:.2f} and {b:.2f} ms, {a / b:.2f}" for a, b in zip(*pairs, strict=True)]


def main(options: argparse.Namespace) -> None:
    """Measure and write the report."""
    texts = texts_of(options.input, options.column)
    single = alone(options, texts, options.exported)
    table, rates = measured(options, texts, options.exported)
    names = ["clients", "server", "rows/s", "p50 ms", "p95 ms", "p99 ms", "errors", "MiB"]
    ratios = [[n, *(f"{rates['ftlit', n] / rates[kind, n]:.2f}" for kind in KINDS if kind != "ftlit")] for n in options.clients]
    given = f"--run {options.run} --exported {options.exported} --input {options.input} --column {options.column}"
    here, found = hardware(), versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("torch", "transformers"))
    report = f"""# Serving

    python experiments/serving/load.py {given} --seconds {options.seconds:g}

{tabulate(table, headers=names, tablefmt="github", disable_numparse=True)}

How many times the rows a second of the peers `ftlit serve` answers:

{tabulate(ratios, headers=["clients", *(KINDS[k] for k in KINDS if k != "ftlit")], tablefmt="github", disable_numparse=True)}

One client of `ftlit serve`, and the tokenizer and transformers' model in a loop without a server, in four turns, of which the
median is shown (and the ratio):
p50 {single[0]}; p95 {single[1]}; p99 {single[2]}.

Each client sends a text once its last one is answered (closed loop). The clients are those of wrk, on the server's cores, which
are {os.cpu_count()}. Memory is resident, with child processes. {here["processor"]}; {packages}.
"""
    options.output.write_text(report)
    print(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="runs/quickstart")
    parser.add_argument("--exported", default="exported", help="folder that `ftlit export` wrote for the run")
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--output", type=Path, default=Path("experiments/results/serving.md"))
    main(parser.parse_args())
