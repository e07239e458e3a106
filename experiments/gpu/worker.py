"""The process that runs checks: it imports torch and ftlit once, and can be killed without harm to what was found."""

import gc
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LINES = 25  # of a traceback that are kept


def serve(connection: Connection, scratch: Path, dry: bool, log: Path, broken: str | None) -> None:
    """Run checks by name until the other end closes.

    Args:
        connection: Gives ``(module, function)`` and takes `outcome`.
        scratch: Folder of models, data and runs.
        dry: Whether shapes are tiny.
        log: File of everything that is printed.
        broken: Name of a check that fails on purpose.
    """
    os.setsid()  # what a check starts dies with its group
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "speed")]
    while True:
        try:
            module, name = connection.recv()
        except EOFError:
            return
        connection.send(outcome(module, name, scratch, dry, broken))


def outcome(module: str, name: str, scratch: Path, dry: bool, broken: str | None) -> dict[str, Any]:
    """Run a check; give its status, seconds, figures, and what went wrong."""
    from bench import Bench, Failed, Skipped

    bench, begun, error, what = Bench(scratch, dry), time.monotonic(), "", ""
    print(f"\n=== {name}", flush=True)
    try:
        check = getattr(__import__(module), name)
        what = check.__doc__.splitlines()[0]
        if name == broken:
            raise Failed("this check was told to fail")
        check(bench)
        status = "ok"
    except Skipped as reason:
        status, error = "skipped", str(reason)
    except Failed as finding:
        status, error = "failed", str(finding)
    except (Exception, SystemExit):
        status, error = "failed", "\n".join(traceback.format_exc().rstrip().splitlines()[-LINES:])
    print(f"=== {name}: {status} {error}", flush=True)
    found = {"what": what, "status": status, "seconds": time.monotonic() - begun, "figures": bench.figures, "error": error}
    free()
    return {**found, "machine": machine()}


def free() -> None:
    """Give back the memory of a check's models."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # after some errors the device does nothing any more
            torch.cuda.empty_cache()


@cache
def machine() -> dict[str, Any]:
    """The GPU or the processor, and the versions that figures depend on."""
    import torch

    found: dict[str, Any] = {"python": platform.python_version(), "processor": platform.machine(), "cores": os.cpu_count()}
    for name in ("torch", "lightning", "transformers", "peft", "datasets", "bitsandbytes"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda, "driver": _driver()}
    return found


def _driver() -> str:
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"
