"""The run folder: what a run leaves as evidence, and who may write there."""

import csv
import importlib.metadata
import io
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ftlit.checkpoint import LAST
from ftlit.errors import UserError
from ftlit.files import read_json, write_json, write_text
from ftlit.secrets import hidden_arguments

PACKAGES = ("ftlit", "torch", "lightning", "transformers", "peft", "torchmetrics", "datasets", "jsonargparse", "numpy")
CONTENTS = (
    "config.yaml", "run.json", "progress.json", "metrics.csv", "results.json", "samples.jsonl", "predictions", "checkpoints",
)  # fmt: skip
PATTERNS = "*_report.*", "*_confusion.*", "hpc_ckpt_*.ckpt"  # the last of Lightning under Slurm, which would begin from it


def check_free(run_dir: Path, resume: bool, overwrite: bool, begun_from: dict[str, str | Path | None] | None = None) -> None:
    """Refuse to start over an earlier run unless told what to do with it.

    Args:
        run_dir: The run's folder.
        resume: Whether to go on with the run in it.
        overwrite: Whether to replace that run.
        begun_from: What the run takes its first weights from, by the option that names it.

    Raises:
        UserError: The folder holds a run and neither flag is given, or there is nothing to resume, or no more, or the
            weights to begin from would be removed.
    """
    taken = [name for name in CONTENTS if (run_dir / name).exists()]
    if resume and overwrite:
        raise UserError("--resume goes on with a run and --overwrite replaces it; give one of them")
    if resume and not taken:
        raise UserError(f"--resume: {run_dir} holds no run; leave --resume out to start one there")
    for option, path in (begun_from or {}).items():
        if overwrite and path and _would_clear(run_dir, Path(path).resolve()):
            raise UserError(f"--overwrite would remove {path}, from which {option} begins; choose another --run_dir")
    finished = read_json(run_dir / "run.json").get("status") == "completed"
    if resume and finished and not (run_dir / LAST).is_file():
        raise UserError(
            f"--resume: {run_dir} holds a finished run that kept no {LAST} to go on from; train it anew by --overwrite with "
            "more trainer.max_epochs, or begin another --run_dir with its weights by --model.init_from"
        )
    if taken and not resume and not overwrite:
        state = "a finished" if finished else "an unfinished"
        raise UserError(
            f"{run_dir} holds {state} run; go on with it by --resume, replace it by --overwrite, or choose another --run_dir"
        )


def _would_clear(run_dir: Path, path: Path) -> bool:
    """Whether `clear` would remove a file, or the run whose folder a path names."""
    return path == run_dir.resolve() or any(path.is_relative_to(run_dir.resolve() / name) for name in CONTENTS)


def clear(run_dir: Path) -> None:
    """Remove an earlier run's files, and nothing else that lies in its folder."""
    for name in CONTENTS:
        path = run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for pattern in PATTERNS:
        for path in run_dir.glob(pattern):
            path.unlink()


class RunRecord:
    """The file run.json of a run folder, kept up to date; only rank zero writes.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "run.json"

    @rank_zero_only
    def update(self, **values: Any) -> None:
        """Set some of the record's values."""
        write_json(self.path, {**read_json(self.path), **values})

    def start(self, **values: Any) -> None:
        """Open the record: the run is running, here, with this code."""
        started = read_json(self.path).get("started", now())
        self.update(
            status="running", error=None, started=started, ended=None, command=hidden_arguments(sys.argv),
            git=git_state(), versions=versions(), hardware=hardware(), **values,
        )  # fmt: skip

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Record it when the run fails or is stopped inside."""
        try:
            yield
        except BaseException as error:
            status = "failed" if isinstance(error, Exception) else "preempted"
            self.update(status=status, error=f"{type(error).__name__}: {error}", ended=now())
            raise


def now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def git_state() -> dict[str, Any]:
    """Commit of the present folder and whether it has uncommitted changes, empty outside a repository."""
    try:
        commit, status = (
            subprocess.run(["git", *args], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(status)}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores, threads in use, and GPUs."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


class MetricsFile(Logger):
    """Logs to ``metrics.csv`` of the run folder, and goes on from the rows that a checkpoint knew.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.path = run_dir / "metrics.csv"
        self.rows: list[dict[str, str]] = []

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({"step": str(step), **{key: repr(value) for key, value in metrics.items()}})

    @rank_zero_only
    def go_back(self, count: int) -> None:
        """Keep the first `count` rows of the file: those logged before the checkpoint from which the run goes on."""
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
            self.rows = rows[:count]

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        first = ["step", "epoch"]
        columns = first + sorted({key for row in self.rows for key in row} - set(first))
        out = io.StringIO()
        table = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.path, out.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
