"""The table of how a study stands."""

import time

from tabulate import tabulate

from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell
from ftlit.study.running.runner import duration
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import ArmStanding, Standing

STATES = ("done", "running", "failed", "left")


def status_text(standing: Standing) -> str:
    """The table by arm, the cells that run with their steps, those that failed with their errors, and the time left."""
    rows = [_row(standing, arm) for arm in standing.arms]
    counts = standing.counts
    total = sum(counts.values())
    parts = [tabulate(rows, headers=["arm", "chosen", "trials", "repetitions", "running", "failed"])]
    if running := standing.having("running"):
        parts.append("\n".join(f"running  {cell.title}: {_progress(standing.folder, cell)}" for cell in running))
    if failed := standing.having("failed"):
        parts.append("\n".join(f"failed   {cell.title}: {standing.folder.error(cell.name)}" for cell in failed))
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])  # type: ignore[index]
    parts.append(f"{standing.plan.study.name}: {summary or 'nothing'} of {total} cells{_time_left(standing)}")
    return "\n\n".join(parts)


def _row(standing: Standing, arm: ArmStanding) -> list[str]:
    states = standing.states
    chosen = "" if arm.chosen is None else ", ".join(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in arm.chosen.items())
    own = {cell.name for cell in [*arm.trials, *arm.repetitions]}
    trials = f"{sum(states[cell.name] == 'done' for cell in arm.trials)}/{len(arm.trials)}" if arm.trials else ""
    count = len(standing.plan.study.seeds)
    done = sum(states[cell.name] == "done" for cell in arm.repetitions)
    marks = [sum(states[name] == state for name in own) for state in ("running", "failed")]
    return [arm.arm.name, chosen, trials, f"{done}/{count}", *(str(mark or "") for mark in marks)]


def _progress(folder: Folder, cell: Cell) -> str:
    found = folder.progress(cell.name)
    if not found:
        return "starting"
    share = f" ({found['step'] / found['steps']:.0%})" if found.get("steps") else ""
    return f"step {found['step']}{share} after {duration(time.time() - found['started'])}"


def _time_left(standing: Standing) -> str:
    """How long the rest takes if it takes as long as what has finished, with as many cells at a time as run now."""
    left = standing.counts["left"] + standing.counts["running"]
    seconds = [s for cell in standing.having("done")[-50:] if (s := _seconds(standing.folder, cell)) is not None]
    if not left or not seconds:
        return ""
    jobs = max(standing.counts["running"], 1)
    return f", about {duration(sum(seconds) / len(seconds) * left / jobs)} left with {jobs} at a time"


def _seconds(folder: Folder, cell: Cell) -> float | None:
    efficiency = RunFolder(folder.run_dir(cell.name)).results.get("efficiency", {})
    return efficiency.get("train_seconds")
