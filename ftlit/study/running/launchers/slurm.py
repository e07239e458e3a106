"""Run cells on Slurm, by workers in a job array that share the cells of a study."""

import os
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlit.errors import UserError, near
from ftlit.study.plan.cells import Plan
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.launchers.sharing import Sharing
from ftlit.study.running.runner import Runner
from ftlit.study.selection.trials import Selection, selection
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.util.files import read_json, write_json
from ftlit.util.private import slurm_parameters

SLURM_COMMANDS = ("sbatch", "srun", "squeue")
DEFAULT_JOBS = 8  # number of workers if the study does not set it
DEFAULT_MINUTES = 60  # time limit of a worker, after which it is requeued
MAX_REQUEUES = 1000  # a worker is requeued at most this often
QUEUE_POLL_SECONDS = 5.0  # time between two looks at the queue
EMPTY_LOOKS = 3  # looks at an empty queue before the workers count as ended: results of other nodes can take seconds to appear
LOG_LINES = 8  # lines of a log in an error message


@dataclass(frozen=True)
class Worker:
    """A task of the job array: runs one cell after the other until none is pending.

    Args:
        plan: The study.
    """

    plan: Plan

    def __call__(self, number: int) -> None:
        """Run cells, as the task with this number."""
        # Lightning would otherwise treat the task as a rank of a single training, and requeue it on its own.
        os.environ.pop("SLURM_NTASKS", None)
        study = self.plan.study
        try:
            Runner(
                self.plan, Folder(study.folder, study.compare.split), Local(Sharing()), say=_say, wait_for_others=False
            ).run()
        except UserError as error:
            _say(f"error: {error}")

    def checkpoint(self, number: int) -> Any:
        """The submission that submitit requeues when the time is up or the worker is preempted."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, number)


def _say(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Array:
    """A job array in Slurm's queue.

    Args:
        number: Job id of the array.
        logs: Folder of the logs.
    """

    number: str
    logs: Path

    def states(self) -> Counter[str]:
        """The number of tasks in each state, such as RUNNING and PENDING; empty once the array has left the queue.

        The states come from squeue, since many clusters have no accounting database that submitit could read.
        """
        command = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={self.number}"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return Counter({"UNKNOWN": 1})  # the controller does not answer at the moment
        return Counter(asked.stdout.split())

    def failure_text(self) -> str:
        """The error message in the latest log, or the end of that log."""
        logs = sorted(self.logs.glob(f"{self.number}_*_log.*"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in logs[-1:] for line in path.read_text("utf-8", errors="replace").splitlines()]
        mistakes = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return mistakes[-1] if mistakes else "\n".join(lines[-LOG_LINES:]) or "it left no log"


def run_on_slurm(plan: Plan, folder: Folder, file: Path) -> Progress:
    """Submit workers, or join those that are in the queue already, and wait until no cell is pending.

    The folder must be on a file system that all nodes share and that supports locks (NFS 4, or Lustre mounted with
    ``flock``), since workers claim cells by locking files. ``launch.slurm`` holds parameters of submitit's
    ``AutoExecutor.update_parameters``. Each worker runs one cell at a time with the GPUs of its task, so ``gpus_per_node``
    is the number of GPUs per cell, and ``launch.jobs`` the number of workers. A worker whose time is up is requeued, and its
    cell continues from its last checkpoint.

    Args:
        plan: The study.
        folder: The folder of the study.
        file: The study file.

    Raises:
        UserError: Slurm or submitit is not installed, a parameter is wrong, or the workers ended before the study.
        SystemExit: The user pressed Ctrl-C; the workers keep running.
    """
    _check_installed()
    choices = selection(plan, folder)
    while (progress := Progress(plan, folder, choices)).unfinished:
        queued = _queued_array(folder)
        array = queued or _submit(plan, folder, progress.counts["pending"])
        try:
            finished = _wait(array, plan, folder, choices)
        except KeyboardInterrupt:
            _say(
                f"\nthe Slurm job {array.number} keeps running: ftlit study run {file} joins it, scancel {array.number} ends it"
            )
            raise SystemExit(130) from None
        # Workers that were queued earlier may have read an earlier version of the study.
        if not finished and not queued:
            raise UserError(f"the Slurm job {array.number} ended before the study did; its log says: {array.failure_text()}")
    return progress


def _wait(array: Array, plan: Plan, folder: Folder, choices: Selection) -> bool:
    """Wait until no cell is pending or no worker is left, and print progress; returns whether all cells have ended."""
    said, empty = "", 0
    while empty < EMPTY_LOOKS:
        states = array.states()
        progress = Progress(plan, folder, choices)
        if not progress.unfinished:
            return True
        if (line := _line(progress, array, states)) != said:
            _say(line)
            said = line
        empty = 0 if states else empty + 1
        time.sleep(QUEUE_POLL_SECONDS)
    return False


def _check_installed() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError("launch.launcher slurm needs the package submitit: pip install -e '.[slurm]'") from error
    if missing := [command for command in SLURM_COMMANDS if shutil.which(command) is None]:
        raise UserError(
            f"launch.launcher slurm needs Slurm's commands, and {missing[0]} is not installed; run the study on a login node"
        )


def _queued_array(folder: Folder) -> Array | None:
    """The array that was last submitted for this study, if it is still in the queue."""
    number = read_json(folder.path / "slurm" / "array.json").get("job")
    array = Array(str(number), folder.path / "slurm")
    return array if number and array.states() else None


def _submit(plan: Plan, folder: Folder, pending: int) -> Array:
    """Submit an array with at most one worker per pending cell."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    logs = folder.path / "slurm"
    executor = submitit.AutoExecutor(logs, cluster="slurm", slurm_max_num_timeout=MAX_REQUEUES)
    _set_parameters(executor, plan)
    size = max(min(plan.study.launch.jobs or DEFAULT_JOBS, pending), 1)
    try:
        jobs = executor.map_array(Worker(plan), range(size))
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"sbatch refused launch.slurm {plan.study.launch.slurm}: {' '.join(str(error).split())}") from error
    array = Array(jobs[0].job_id.split("_")[0], logs)
    write_json(logs / "array.json", {"job": array.number, "workers": size})
    _say(f"submitted the Slurm job {array.number} with {size} workers; logs in {logs}")
    return array


def _set_parameters(executor: Any, plan: Plan) -> None:
    """Pass the parameters of the study to submitit.

    Raises:
        UserError: A parameter is unknown or has a wrong value.
    """
    launch = plan.study.launch
    usual = {"name": plan.study.name, "timeout_min": DEFAULT_MINUTES, "cpus_per_task": launch.threads, "stderr_to_stdout": True}
    known = slurm_parameters(executor)
    if unknown := [key for key in launch.slurm if key not in known]:
        raise UserError(f"launch.slurm has the key {unknown[0]!r}. {near(unknown[0], sorted(known))}")
    try:
        executor.update_parameters(**{**usual, **launch.slurm})
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"launch.slurm {launch.slurm}: {' '.join(str(error).split())}") from error


def _line(progress: Progress, array: Array, states: Counter[str]) -> str:
    counts = progress.counts
    cells = ", ".join(f"{counts[state]} {state}" for state in ("done", "running", "failed", "pending") if counts[state])
    workers = ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items())) or "none in the queue"
    return f"{cells} of {sum(counts.values())} cells; workers of the Slurm job {array.number}: {workers}"
