"""Run cells in processes on this machine, forked from one that has imported everything."""

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from ftlit.study.running.worker import Job, work


class Local:
    """Runs jobs in processes, each on its own GPU or with its own CPU threads.

    Args:
        jobs: Number of jobs at a time.
        devices: GPUs to assign to jobs; empty to use CPUs.
    """

    def __init__(self, jobs: int, devices: list[str] | None = None) -> None:
        self.slots, self.devices = jobs, devices or []
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["ftlit.study.running.preload"])
        self._running: dict[str, tuple[Any, int]] = {}

    @property
    def running(self) -> list[str]:
        """Names of the running cells."""
        return list(self._running)

    @property
    def free(self) -> int:
        """Number of jobs that can start now."""
        return self.slots - len(self._running)

    def submit(self, job: Job) -> None:
        """Start a job in a free slot."""
        slot = min(set(range(self.slots)) - {slot for _, slot in self._running.values()})
        if self.devices:
            job = replace(job, device=self.devices[slot % len(self.devices)])
        process = self.context.Process(target=work, args=(job,), name=f"cell-{job.cell.name}")
        process.start()
        self._running[job.cell.name] = (process, slot)

    def wait(self, seconds: float) -> dict[str, int]:
        """Wait until a job ends or the time is up; returns the exit codes of ended jobs by cell."""
        ends = {process.sentinel: name for name, (process, _) in self._running.items()}
        codes = {}
        for end in wait(list(ends), seconds):
            process, _ = self._running.pop(ends[end])  # type: ignore[index]
            process.join()
            codes[process.name.removeprefix("cell-")] = process.exitcode
        return codes

    def close(self) -> None:
        """Kill the jobs that are still running; they continue from their last checkpoints another time."""
        for process, _ in self._running.values():
            process.kill()
        self._running.clear()
