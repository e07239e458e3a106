"""The progress of a study as text."""

import time
from collections import Counter

from tabulate import tabulate

from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell
from ftlit.study.running.runner import duration
from ftlit.study.sequential.course import Course
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import ArmProgress, Progress
from ftlit.util.render.formats import choices_text

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
    if progress.course is not None and progress.course.status:
        parts.append(verdicts_text(progress, progress.course))
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])  # type: ignore[index]
    parts.append(f"{progress.plan.study.name}: {summary or 'nothing'} of {total} cells{_time_left(progress)}")
    return "\n\n".join(parts)


def _row(progress: Progress, arm: ArmProgress) -> list[str]:
    states = progress.states
    chosen = choices_text(arm.choices) if any(arm.choices.values()) else ""
    own = {cell.name for cell in [*arm.trials, *arm.repetitions]}
    trials = f"{sum(states[cell.name] == 'done' for cell in arm.trials)}/{len(arm.trials)}" if arm.trials else ""
    count = len(progress.seeds(arm.arm))
    done = sum(states[cell.name] == "done" for cell in arm.repetitions)
    marks = [sum(states[name] == state for name in own) for state in ("running", "failed")]
    return [arm.arm.name, chosen, trials, f"{done}/{count}", *(str(mark or "") for mark in marks)]


def verdicts_text(progress: Progress, course: Course) -> str:
    """The verdicts of a study with sequential seeds that are open, and what they may cost."""
    counts = Counter(course.status.values())
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    if course.ended:
        return f"verdicts: {said}; no more seeds will run"
    looks, p = course.looks.seeds, course.adjusted(0)
    lines = [
        f"open     {' against '.join(pair)}" + (f": p {p[pair]:.3f} so far" if course.look else "") for pair in course.open
    ]
    more, seconds = progress.possible, _mean_seconds(progress)
    cost = f" and {duration(seconds * more / max(progress.counts['running'], 1))}" if seconds and more else ""
    following = f"next look with {looks[course.look]} of at most {looks[-1]} seeds"
    return "\n".join([*lines, f"verdicts: {said}; {following}, which may take {more} more cells{cost}"])


def _step_text(folder: Folder, cell: Cell) -> str:
    found = folder.cell_progress(cell.name)
    if not found:
        return "starting"
    share = f" ({found['step'] / found['steps']:.0%})" if found.get("steps") else ""
    return f"step {found['step']}{share} after {duration(time.time() - found['started'])}"


def _time_left(progress: Progress) -> str:
    """The time for the remaining cells, assuming that they take as long as the finished ones and as many run at a time."""
    left = progress.counts["pending"] + progress.counts["running"]
    seconds, jobs = _mean_seconds(progress), max(progress.counts["running"], 1)
    return f", about {duration(seconds * left / jobs)} left with {jobs} at a time" if left and seconds else ""


def _mean_seconds(progress: Progress) -> float | None:
    """The mean training time of finished cells; None without any."""
    seconds = [s for cell in progress.in_state("done")[-50:] if (s := _seconds(progress.folder, cell)) is not None]
    return sum(seconds) / len(seconds) if seconds else None


def _seconds(folder: Folder, cell: Cell) -> float | None:
    efficiency = RunFolder(folder.run_dir(cell.name)).results.get("efficiency", {})
    return efficiency.get("train_seconds")
