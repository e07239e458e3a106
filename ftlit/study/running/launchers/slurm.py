"""Workers in a job array of Slurm, which share the cells of a study."""

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
from ftlit.study.running.runner import Runner
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Standing
from ftlit.study.state.selection import Selection, selection
from ftlit.util.files import read_json, write_json
from ftlit.util.private import slurm_parameters

COMMANDS = ("sbatch", "srun", "squeue")
JOBS = 8  # workers, where the study does not say how many
MINUTES = 60  # of a worker before it is requeued, where the study does not say
TIMEOUTS = 1000  # after which a worker is not requeued
LOOK = 5.0  # seconds from one look at the queue to the next
LOOKS = 3  # at an empty queue before it is believed: results of other nodes may take seconds to be seen
TAIL = 8  # lines of a log


@dataclass(frozen=True)
class Worker:
    """What a task of the array does: run cells one after the other until none is left.

    Args:
        plan: The study.
    """

    plan: Plan

    def __call__(self, number: int) -> None:
        """Work, as the task of this number."""
        # Lightning would take the task for a rank of one training, and requeue it by itself.
        os.environ.pop("SLURM_NTASKS", None)
        study = self.plan.study
        try:
            Runner(self.plan, Folder(study.folder, study.compare.split), Local(1), say=_say, stays=False).run()
        except UserError as error:
            _say(f"error: {error}")

    def checkpoint(self, number: int) -> Any:
        """What submitit queues again when time is up or another job needs the node."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, number)


def _say(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Array:
    """A job array in Slurm's queue.

    Args:
        number: Its job id.
        logs: Folder of its logs.
    """

    number: str
    logs: Path

    def states(self) -> Counter[str]:
        """How many of its tasks are RUNNING, PENDING and so on; none once it has left the queue.

        It is asked of squeue, for many clusters keep no accounts that submitit could read.
        """
        command = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={self.number}"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return Counter({"UNKNOWN": 1})  # the controller does not answer just now
        return Counter(asked.stdout.split())

    def last_words(self) -> str:
        """The mistake that its latest log names, or the end of that log."""
        logs = sorted(self.logs.glob(f"{self.number}_*_log.*"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in logs[-1:] for line in path.read_text("utf-8", errors="replace").splitlines()]
        mistakes = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return mistakes[-1] if mistakes else "\n".join(lines[-TAIL:]) or "it left no log"


def run_on_slurm(plan: Plan, folder: Folder, file: Path) -> Standing:
    """Submit workers, or join those that a study has in the queue already, and wait until no cell is left.

    The folder is on a file system that all nodes share and on which locks work (NFS 4, Lustre mounted with ``flock``): who
    locks a cell has it. ``launch.slurm`` has the parameters of submitit's ``AutoExecutor.update_parameters``. Each worker
    runs one cell at a time with the GPUs of its task, so ``gpus_per_node`` is what a cell needs and ``launch.jobs`` the
    number of workers. A worker whose time is up is queued again, and its cell goes on from its last checkpoint.

    Args:
        plan: The study.
        folder: Its folder.
        file: The study file.

    Raises:
        UserError: Slurm or submitit is not here, a parameter is wrong, or the workers ended before the study.
        SystemExit: Ctrl-C; the workers go on.
    """
    _check_installed()
    choices = selection(plan, folder)
    while (standing := Standing(plan, folder, choices)).open:
        joined = _joined(folder)
        array = joined or _submitted(plan, folder, standing.counts["left"])
        try:
            finished = _waited(array, plan, folder, choices)
        except KeyboardInterrupt:
            _say(f"\nthe Slurm job {array.number} goes on: ftlit study run {file} joins it, scancel {array.number} ends it")
            raise SystemExit(130) from None
        # Workers that were joined may know an earlier state of the study.
        if not finished and not joined:
            raise UserError(f"the Slurm job {array.number} ended before the study did; its log says: {array.last_words()}")
    return standing


def _waited(array: Array, plan: Plan, folder: Folder, choices: Selection) -> bool:
    """Wait until no cell is left or no worker; gives whether it was the cells. Says how they stand whenever that changes."""
    said, empty = "", 0
    while empty < LOOKS:
        states = array.states()
        standing = Standing(plan, folder, choices)
        if not standing.open:
            return True
        if (line := _line(standing, array, states)) != said:
            _say(line)
            said = line
        empty = 0 if states else empty + 1
        time.sleep(LOOK)
    return False


def _check_installed() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError("launch.launcher slurm needs the package submitit: pip install -e '.[slurm]'") from error
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        raise UserError(f"launch.launcher slurm needs Slurm's commands, and {missing[0]} is not here; run it on a login node")


def _joined(folder: Folder) -> Array | None:
    """The array that was submitted last for this study, if it is in the queue still."""
    number = read_json(folder.path / "slurm" / "array.json").get("job")
    array = Array(str(number), folder.path / "slurm")
    return array if number and array.states() else None


def _submitted(plan: Plan, folder: Folder, left: int) -> Array:
    """A new array of workers, at most as many as there are cells left."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    logs = folder.path / "slurm"
    executor = submitit.AutoExecutor(logs, cluster="slurm", slurm_max_num_timeout=TIMEOUTS)
    _set_parameters(executor, plan)
    size = max(min(plan.study.launch.jobs or JOBS, left), 1)
    try:
        jobs = executor.map_array(Worker(plan), range(size))
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"sbatch refused launch.slurm {plan.study.launch.slurm}: {' '.join(str(error).split())}") from error
    array = Array(jobs[0].job_id.split("_")[0], logs)
    write_json(logs / "array.json", {"job": array.number, "workers": size})
    _say(f"submitted the Slurm job {array.number} with {size} workers; logs in {logs}")
    return array


def _set_parameters(executor: Any, plan: Plan) -> None:
    """Give submitit what the study says.

    Raises:
        UserError: It has no such parameter, or not of this kind.
    """
    launch = plan.study.launch
    usual = {"name": plan.study.name, "timeout_min": MINUTES, "cpus_per_task": launch.threads, "stderr_to_stdout": True}
    known = slurm_parameters(executor)
    if unknown := [key for key in launch.slurm if key not in known]:
        raise UserError(f"launch.slurm has the key {unknown[0]!r}. {near(unknown[0], sorted(known))}")
    try:
        executor.update_parameters(**{**usual, **launch.slurm})
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"launch.slurm {launch.slurm}: {' '.join(str(error).split())}") from error


def _line(standing: Standing, array: Array, states: Counter[str]) -> str:
    counts = standing.counts
    cells = ", ".join(f"{counts[state]} {state}" for state in ("done", "running", "failed", "left") if counts[state])
    workers = ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items())) or "none in the queue"
    return f"{cells} of {sum(counts.values())} cells; workers of the Slurm job {array.number}: {workers}"
