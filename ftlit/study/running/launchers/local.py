"""Run cells in processes on this machine, forked from one that has imported everything."""

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from ftlit.runs.reading import RunFolder
from ftlit.study.running.launchers.sharing import Sharing
from ftlit.study.running.worker import DONE, OUT_OF_MEMORY, Job, work
from ftlit.study.state.folder import Folder


class Local:
    """Runs jobs in processes, each on a GPU or with its own CPU threads.

    Args:
        sharing: How many jobs run at a time on each device.
    """

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["ftlit.study.running.preload"])
        self._running: dict[str, tuple[Any, Job]] = {}

    @property
    def running(self) -> list[str]:
        """Names of the running cells."""
        return list(self._running)

    @property
    def free(self) -> int:
        """Number of jobs that can start now."""
        return self.sharing.free(self._taken())

    def submit(self, job: Job) -> None:
        """Start a job on the device that has the fewest."""
        if self.sharing.devices:
            job = replace(job, device=self.sharing.place(self._taken()))
        job = replace(job, shared=self.sharing.at_once > 1)
        process = self.context.Process(target=work, args=(job,), name=f"cell-{job.cell.name}")
        process.start()
        self._running[job.cell.name] = (process, job)

    def _taken(self) -> list[str | None]:
        """The devices of the running jobs."""
        return [job.device for _, job in self._running.values()]

    def wait(self, seconds: float) -> dict[str, int]:
        """Wait until a job ends or the time is up; returns the exit codes of ended jobs by cell."""
        ends = {process.sentinel: name for name, (process, _) in self._running.items()}
        codes = {}
        for end in wait(list(ends), seconds):
            process, job = self._running[ends[end]]  # type: ignore[index]
            process.join()
            codes[job.cell.name] = process.exitcode
            if process.exitcode == OUT_OF_MEMORY:
                self.sharing.ran_out(self._taken().count(job.device))
            elif process.exitcode == DONE:
                run = RunFolder(Folder(job.folder).run_dir(job.cell.name))
                self.sharing.learn(run.results.get("efficiency", {}))
            del self._running[job.cell.name]
        return codes

    def close(self) -> None:
        """Kill the jobs that are still running; they continue from their last checkpoints another time."""
        for process, _ in self._running.values():
            process.kill()
        self._running.clear()
