"""Runs the checks of a GPU one after the other in a process beside this one, and writes what it finds after each.

Start it by `bash experiments/gpu/check.sh`. A check that fails, crashes or takes too long is recorded and the next one runs.
"""

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from record import Record

ROOT = Path(__file__).parents[2]
LEAST = 5.0  # seconds that must be left to begin a check


@dataclass(frozen=True)
class Check:
    """A function that is run, and the seconds that it may take at most."""

    module: str
    name: str
    seconds: float


CHECKS = [
    Check("learning", "fit", 150),
    Check("exactness", "resume", 120),
    Check("exactness", "exactly_once", 30),
    Check("learning", "precision", 30),
    Check("learning", "lora", 120),
    Check("learning", "qlora", 90),
    Check("exactness", "clipping", 60),
    Check("exactness", "accumulation", 60),
    Check("serving", "predict", 60),
    Check("serving", "export", 90),
    Check("learning", "memory", 30),
    Check("exactness", "deterministic", 120),
    Check("learning", "causal_lm", 60),
    Check("speed", "peak", 30),
    Check("speed", "bert_same_work", 90),
    Check("speed", "llama_same_work", 90),
    Check("speed", "bert_best_flags", 90),
    Check("speed", "llama_best_flags", 90),
    Check("speed", "bert_defaults", 90),
    Check("speed", "llama_defaults", 90),
]


class Worker:
    """The process beside this one, started when a check needs it and started anew after it was killed.

    Args:
        scratch: Folder of models, data and runs.
        dry: Whether shapes are tiny.
        broken: Name of a check that fails on purpose.
    """

    def __init__(self, scratch: Path, dry: bool, broken: str | None) -> None:
        self.given = (scratch, dry, scratch / "log.txt", broken)
        self._process: Any = None
        self._connection: Connection | None = None

    def run(self, check: Check, left: float) -> dict[str, Any]:
        """Run a check within its own seconds and those that are left of the whole time; return its outcome."""
        connection, begun, status = self._connection or self._start(), time.monotonic(), "failed"
        try:
            connection.send((check.module, check.name))
            if connection.poll(min(check.seconds, left)):
                found = connection.recv()
                if "CUDA" in found["error"]:  # an error of the device may spoil every later check of the process
                    self.stop()
                return found
            if left < check.seconds:
                status, error = "not reached", f"the time was over {left:.0f} seconds after its beginning"
            else:
                error = f"it took more than its {check.seconds:.0f} seconds and was killed"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(5)
            error = f"the process crashed with code {self._process.exitcode}"
        self.stop()
        said = f"{error}\n{last_lines(self.given[2])}".rstrip()
        return {"status": status, "seconds": time.monotonic() - begun, "figures": {}, "error": said}

    def _start(self) -> Connection:
        from worker import serve

        spawn = multiprocessing.get_context("spawn")
        self._connection, other = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(other, *self.given), daemon=True)
        self._process.start()
        other.close()
        return self._connection

    def finish(self) -> None:
        """Let the process end by itself, or kill it where it does not."""
        if self._connection is not None:
            self._connection.close()
            self._process.join(20)
        self.stop()

    def stop(self) -> None:
        """Kill the process and all that it started."""
        if self._process is not None and self._process.is_alive():
            with_group = os.getpgid(self._process.pid) == self._process.pid
            (os.killpg if with_group else os.kill)(self._process.pid, signal.SIGKILL)
            self._process.join()
        self._process = self._connection = None


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a file, empty where there is none."""
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-count:]) if log.is_file() else ""


def run_all(checks: list[Check], record: Record, worker: Worker, deadline: float) -> None:
    """Run checks until the deadline."""
    try:
        for check in checks:
            left = deadline - time.monotonic()
            if left < LEAST:
                break
            print(f"{check.name} ...", end=" ", flush=True)
            found = worker.run(check, left)
            record.add(check.name, found)
            print(f"{found['status']} in {found['seconds']:.1f} s", flush=True)
    finally:
        worker.finish()


def environment(dry: bool, scratch: Path) -> None:
    """One GPU or none, no network, and temporary files beside the rest."""
    (scratch / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "cache"), "TMPDIR": str(scratch / "tmp")}
    tempfile.tempdir = None
    if dry:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # more would only wait for each other
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def device(dry: bool) -> str:
    """The name of the GPU, or CPU for a dry run; leaves where there is none."""
    if dry:
        return "CPU"
    asked = [
        "nvidia-smi",
        "--query-gpu=name",
        "--format=csv,noheader",
        f"--id={os.environ['CUDA_VISIBLE_DEVICES'].split(',')[0]}",
    ]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        raise SystemExit("no NVIDIA GPU was found here; --dry does the same with tiny shapes on a CPU") from None


def main() -> None:
    parser = argparse.ArgumentParser(prog="bash experiments/gpu/check.sh", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="the same with tiny shapes on a CPU")
    parser.add_argument("--out", type=Path, help="folder of gpu.json and gpu.md (experiments/results; runs/gpu-dry with --dry)")
    parser.add_argument("--scratch", type=Path, help="folder of models, data and runs (runs/gpu; runs/gpu-dry with --dry)")
    parser.add_argument("--minutes", type=float, default=8, help="after which it stops by itself")
    parser.add_argument("--anew", action="store_true", help="repeat what gpu.json has already")
    names = [check.name for check in CHECKS]
    parser.add_argument("--only", nargs="+", metavar="CHECK", choices=names, help="these checks alone, even if they are done")
    parser.add_argument("--break", dest="broken", help=argparse.SUPPRESS)  # a check that fails on purpose, for the test
    given, begun = parser.parse_args(), time.monotonic()
    if find_spec("torch") is None:
        raise SystemExit(f"{sys.executable} has no torch; set PYTHON to the Python of ftlit, such as PYTHON=.venv/bin/python")
    place = ROOT / "runs" / ("gpu-dry" if given.dry else "gpu")
    scratch = (given.scratch or place).resolve()
    environment(given.dry, scratch)
    out = (given.out or (place if given.dry else ROOT / "experiments" / "results")).resolve()
    command = ["bash", "experiments/gpu/check.sh", *sys.argv[1:]]
    record = Record(out, command, device(given.dry), [check.name for check in CHECKS], given.anew)
    checks = [check for check in CHECKS if (check.name in given.only if given.only else not record.done(check.name))]
    run_all(checks, record, Worker(scratch, given.dry, given.broken), begun + 60 * given.minutes)
    record.write()
    print(f"wrote {out / 'gpu.md'}" if checks else f"{out / 'gpu.md'} has every check; --anew repeats them")
    raise SystemExit(bool(record.failed))


if __name__ == "__main__":
    main()
