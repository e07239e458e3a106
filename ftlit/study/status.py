"""The progress of a study as text."""

import time

from tabulate import tabulate

from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell
from ftlit.study.report.render.formats import choices_text
from ftlit.study.running.runner import duration
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import ArmProgress, Progress

STATES = ("done", "running", "failed", "pending")


def status_text(progress: Progress) -> str:
    """A table of all arms, the steps of running cells, the errors of failed cells, and the time left."""
    rows = [_row(progress, arm) for arm in progress.arms]
    counts = progress.counts
    total = sum(counts.values())
    parts = [tabulate(rows, headers=["arm", "chosen", "trials", "repetitions", "running", "failed"])]
    if running := progress.in_state("running"):
        parts.append("\n".join(f"running  {cell.title}: {_step_text(progress.folder, cell)}" for cell in running))
    if failed := progress.in_state("failed"):
        parts.append("\n".join(f"failed   {cell.title}: {progress.folder.error(cell.name)}" for cell in failed))
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])  # type: ignore[index]
    parts.append(f"{progress.plan.study.name}: {summary or 'nothing'} of {total} cells{_time_left(progress)}")
    return "\n\n".join(parts)


def _row(progress: Progress, arm: ArmProgress) -> list[str]:
    states = progress.states
    chosen = choices_text(arm.choices) if any(arm.choices.values()) else ""
    own = {cell.name for cell in [*arm.trials, *arm.repetitions]}
    trials = f"{sum(states[cell.name] == 'done' for cell in arm.trials)}/{len(arm.trials)}" if arm.trials else ""
    count = len(progress.plan.study.seeds)
    done = sum(states[cell.name] == "done" for cell in arm.repetitions)
    marks = [sum(states[name] == state for name in own) for state in ("running", "failed")]
    return [arm.arm.name, chosen, trials, f"{done}/{count}", *(str(mark or "") for mark in marks)]


def _step_text(folder: Folder, cell: Cell) -> str:
    found = folder.cell_progress(cell.name)
    if not found:
        return "starting"
    share = f" ({found['step'] / found['steps']:.0%})" if found.get("steps") else ""
    return f"step {found['step']}{share} after {duration(time.time() - found['started'])}"


def _time_left(progress: Progress) -> str:
    """The time for the remaining cells, assuming that they take as long as the finished ones and as many run at a time."""
    left = progress.counts["pending"] + progress.counts["running"]
    seconds = [s for cell in progress.in_state("done")[-50:] if (s := _seconds(progress.folder, cell)) is not None]
    if not left or not seconds:
        return ""
    jobs = max(progress.counts["running"], 1)
    return f", about {duration(sum(seconds) / len(seconds) * left / jobs)} left with {jobs} at a time"


def _seconds(folder: Folder, cell: Cell) -> float | None:
    efficiency = RunFolder(folder.run_dir(cell.name)).results.get("efficiency", {})
    return efficiency.get("train_seconds")
