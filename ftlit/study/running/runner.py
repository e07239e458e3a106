"""Run the cells of a study until none is pending."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from ftlit.errors import UserError
from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.running.worker import ALREADY_CLAIMED, DISK_FULL, DONE, FAILED, OUT_OF_MEMORY, Job
from ftlit.study.selection.trials import selection
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress

MAX_DEATHS = 5  # a runner gives up on a cell whose process dies this often
POLL_SECONDS = 1.0  # time between two looks at the folder


class Executor(Protocol):
    """Runs jobs, several at a time."""

    @property
    def running(self) -> list[str]:
        """Names of the running cells."""

    @property
    def free(self) -> int:
        """Number of jobs that can start now."""

    def submit(self, job: Job) -> None:
        """Start a job."""

    def wait(self, seconds: float) -> dict[str, int]:
        """Wait until a job ends or the time is up; returns the exit codes of ended jobs by cell."""

    def close(self) -> None:
        """End the jobs that are still running."""


class Runner:
    """Starts cells as they become ready, and restarts those whose process dies.

    Several runners may work on one folder; each cell is run by the process that claims it.

    Args:
        plan: The study.
        folder: The folder of the study.
        executor: Runs the cells.
        say: Called with a line of text for each cell that ends.
        wait_for_others: Whether to wait for the last cells of other runners when there is nothing more to start.
    """

    def __init__(
        self, plan: Plan, folder: Folder, executor: Executor, say: Callable[[str], None] = print, wait_for_others: bool = True
    ) -> None:
        self.plan, self.folder, self.executor, self.say, self.wait_for_others = plan, folder, executor, say, wait_for_others
        self.choices = selection(plan, folder, may_propose=True)
        self.deaths: Counter[str] = Counter()
        self.began, self.finished = time.monotonic(), 0

    def run(self) -> Progress:
        """Run until every cell is done or has failed, including those of other runners.

        Raises:
            UserError: The disk is full.
        """
        try:
            while True:
                progress = Progress(self.plan, self.folder, self.choices)
                self._start(progress)
                if not self.executor.running and not self._others_have_work(progress):
                    return progress
                for name, code in self._wait().items():
                    self._ended(progress, name, code)
        finally:
            self.executor.close()

    def _start(self, progress: Progress) -> None:
        study = self.plan.study
        running = set(self.executor.running)
        ready = [cell for cell in progress.in_state("pending") if cell.name not in running]
        for cell in ready[: self.executor.free]:
            self.executor.submit(Job(study.folder.absolute(), cell, study.compare.split, study.keep, study.launch.threads))

    def _others_have_work(self, progress: Progress) -> bool:
        """Whether cells of other runners are still to end, on which more cells may depend."""
        if progress.in_state("pending") or progress.looking:
            return True
        return bool(progress.in_state("running")) and (self.wait_for_others or bool(progress.open))

    def _wait(self) -> dict[str, int]:
        if self.executor.running:
            return self.executor.wait(POLL_SECONDS)
        time.sleep(POLL_SECONDS)
        return {}

    def _ended(self, progress: Progress, name: str, code: int) -> None:
        cell = next(cell for cell in progress.cells if cell.name == name)
        if code == DISK_FULL:
            raise UserError(
                f"no space is left on the disk of {self.folder.path}: free some, or set keep: none in the study. Finished "
                "cells are kept, and the same command continues the study"
            )
        if code == DONE:
            self.finished += 1
            self.say(f"done    {cell.title}: {self._numbers(cell)}  {self._time_left()}")
        elif code == FAILED and (error := self.folder.error(name)) is not None:
            self.say(f"failed  {cell.title}: {error}")
        elif code not in (ALREADY_CLAIMED, OUT_OF_MEMORY):  # both are tried again
            self._died(cell, code)

    def _died(self, cell: Cell, code: int) -> None:
        """Restart a cell whose process was killed, unless this happens again and again."""
        self.deaths[cell.name] += 1
        if self.deaths[cell.name] >= MAX_DEATHS:
            reason = (
                f"its process died {MAX_DEATHS} times, last by signal {-code}"
                if code < 0
                else f"its process exited with {code}"
            )
            self.folder.fail(cell.name, f"{reason}; with signal 9, memory may have run out")
            self.say(f"failed  {cell.title}: {reason}")
        else:
            self.say(f"died    {cell.title} (exit code {code}): it continues from its last checkpoint")

    def _numbers(self, cell: Cell) -> str:
        metric, results = self.plan.study.compare.primary, self.results(cell)
        splits = [split for split in ("validation", "test") if split in results]
        numbers = [f"{split} {metric} {results[split].get(metric, float('nan')):.4f}" for split in splits]
        return f"{', '.join(numbers)}, {results['efficiency']['train_seconds']:.0f} s"

    def results(self, cell: Cell) -> dict[str, Any]:
        """The results of a finished cell."""
        return RunFolder(self.folder.run_dir(cell.name)).results

    def _time_left(self) -> str:
        counts = Progress(self.plan, self.folder, self.choices).counts
        left = counts["pending"] + counts["running"]
        seconds = (time.monotonic() - self.began) / max(self.finished, 1) * left
        return f"[{counts['done']} of {sum(counts.values())}, about {duration(seconds)} left]" if left else "[all done]"


def duration(seconds: float) -> str:
    """A duration as readable text."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
