"""The file run.json, which records how, where and with which versions a run was made."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from ftlit.errors import Stopped, UserError
from ftlit.runs.files import RECORD, SCHEMA
from ftlit.runs.secrets import hidden_arguments, hidden_text
from ftlit.util.files import is_disk_full, read_json, write_json
from ftlit.util.machine import processor_facts

RECORDED_PACKAGES = ("ftlit", "torch", "lightning", "transformers", "peft", "torchmetrics", "datasets", "jsonargparse", "numpy")


class RunRecord:
    """Writes run.json, on rank zero only.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / RECORD

    @rank_zero_only
    def update(self, **values: Any) -> None:
        """Update values of the record."""
        content = {**read_json(self.path), **values}
        try:
            write_json(self.path, content)
        except UserError as error:
            if not (is_disk_full(error) and self.path.is_file()):
                raise
            # Without spaces the content is shorter than the file, which needs no room on the disk then.
            with self.path.open("r+", encoding="utf-8") as file:
                file.write(json.dumps(content, ensure_ascii=False, default=str))
                file.truncate()

    def start(self, began: str, **values: Any) -> None:
        """Record the start of the run with its command, code, versions and hardware."""
        started = read_json(self.path).get("started", began)
        self.update(
            schema=SCHEMA, status="running", error=None, started=started, ended=None, command=hidden_arguments(sys.argv),
            git=git_state(), versions=versions(), hardware=hardware(), **values,
        )  # fmt: skip

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Record a failure or interruption inside the context."""
        try:
            yield
        except BaseException as error:
            status = "failed" if isinstance(error, Exception) else "preempted"
            said = str(error) if isinstance(error, UserError | Stopped) else f"{type(error).__name__}: {error}"
            with suppress(UserError, OSError):  # the first error counts
                self.update(status=status, error=hidden_text(said), ended=now())
            raise


def now() -> str:
    """The current time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def git_state() -> dict[str, Any]:
    """The commit of the current folder and whether there are uncommitted changes; empty outside a repository."""
    try:
        commit, status = (
            subprocess.run(["git", *args], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(status)}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages on which results depend."""
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """The processor, the numbers of cores and threads in use, and the GPUs."""
    return {
        "machine": platform.machine(),
        "processor": processor_facts().get("model name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
