"""Run the cells of a study until none is left."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from ftlit.errors import UserError
from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.running.worker import DONE, FAILED, FULL, TAKEN, Job
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Standing
from ftlit.study.state.selection import selection

PATIENCE = 5  # deaths of a cell by a signal that one runner forgives
POLL = 1.0  # seconds from one look at the folder to the next


class Executor(Protocol):
    """Runs jobs somewhere, several at a time."""

    @property
    def running(self) -> list[str]:
        """Names of the cells that run."""

    @property
    def free(self) -> int:
        """How many more may start."""

    def submit(self, job: Job) -> None:
        """Start a job."""

    def wait(self, seconds: float) -> dict[str, int]:
        """Wait until a job ends, at most so long; gives the exit codes of those that have, by cell."""

    def close(self) -> None:
        """End what still runs."""


class Runner:
    """Starts cells as they become ready, and looks after those that die.

    Several runners may work on one folder: whoever claims a cell has it.

    Args:
        plan: The study.
        folder: Its folder.
        executor: Where cells run.
        say: Gets a line about each cell that ends.
        stays: Whether to wait for the last cells of other runners, when there is nothing more to start.
    """

    def __init__(
        self, plan: Plan, folder: Folder, executor: Executor, say: Callable[[str], None] = print, stays: bool = True
    ) -> None:
        self.plan, self.folder, self.executor, self.say, self.stays = plan, folder, executor, say, stays
        self.choices = selection(plan, folder, asks=True)
        self.deaths: Counter[str] = Counter()
        self.began, self.finished = time.monotonic(), 0

    def run(self) -> Standing:
        """Run until every cell is done or has failed, those of other runners too.

        Raises:
            UserError: The disk is full.
        """
        try:
            while True:
                standing = Standing(self.plan, self.folder, self.choices)
                self._start(standing)
                if not self.executor.running and not self._others(standing):
                    return standing
                for name, code in self._wait().items():
                    self._ended(standing, name, code)
        finally:
            self.executor.close()

    def _start(self, standing: Standing) -> None:
        study = self.plan.study
        running = set(self.executor.running)
        ready = [cell for cell in standing.having("left") if cell.name not in running]
        for cell in ready[: self.executor.free]:
            self.executor.submit(Job(study.folder.absolute(), cell, study.compare.split, study.keep, study.launch.threads))

    def _others(self, standing: Standing) -> bool:
        """Whether other runners have cells of this study, on which more may depend."""
        if standing.having("left"):
            return True
        return bool(standing.having("running")) and (self.stays or any(arm.chosen is None for arm in standing.arms))

    def _wait(self) -> dict[str, int]:
        if self.executor.running:
            return self.executor.wait(POLL)
        time.sleep(POLL)
        return {}

    def _ended(self, standing: Standing, name: str, code: int) -> None:
        cell = next(cell for cell in standing.cells if cell.name == name)
        if code == FULL:
            raise UserError(
                f"no space is left for {self.folder.path}: free some, or set keep: none in the study; what has finished "
                "is kept, and the same command goes on"
            )
        if code == DONE:
            self.finished += 1
            self.say(f"done    {cell.title}: {self._numbers(cell)}  {self._left()}")
        elif code == FAILED and (error := self.folder.error(name)) is not None:
            self.say(f"failed  {cell.title}: {error}")
        elif code != TAKEN:
            self._died(cell, code)

    def _died(self, cell: Cell, code: int) -> None:
        """A process that was ended from outside: its cell goes on, unless it dies again and again."""
        self.deaths[cell.name] += 1
        if self.deaths[cell.name] >= PATIENCE:
            reason = (
                f"its process died {PATIENCE} times, last by signal {-code}" if code < 0 else f"its process left with {code}"
            )
            self.folder.fail(cell.name, f"{reason}; with signal 9, memory may have run out")
            self.say(f"failed  {cell.title}: {reason}")
        else:
            self.say(f"died    {cell.title} (exit code {code}): goes on from its last checkpoint")

    def _numbers(self, cell: Cell) -> str:
        metric, results = self.plan.study.compare.metric, self.results(cell)
        splits = [split for split in ("validation", "test") if split in results]
        numbers = [f"{split} {metric} {results[split].get(metric, float('nan')):.4f}" for split in splits]
        return f"{', '.join(numbers)}, {results['efficiency']['train_seconds']:.0f} s"

    def results(self, cell: Cell) -> dict[str, Any]:
        """The results of a finished cell."""
        return RunFolder(self.folder.run_dir(cell.name)).results

    def _left(self) -> str:
        counts = Standing(self.plan, self.folder, self.choices).counts
        left = counts["left"] + counts["running"]
        seconds = (time.monotonic() - self.began) / max(self.finished, 1) * left
        return f"[{counts['done']} of {sum(counts.values())}, about {duration(seconds)} left]" if left else "[all done]"


def duration(seconds: float) -> str:
    """A length of time for people."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
