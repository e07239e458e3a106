"""Plan a study before it runs: count its cells, and estimate time and memory from a few real steps of each kind of cell."""

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from ftlit.commands.planning.preview import Preview, mebibytes
from ftlit.errors import UserError
from ftlit.study.plan.cells import Arm, Plan
from ftlit.study.plan.lengths import part_of_length
from ftlit.study.plan.settings import Study
from ftlit.study.profile import NO_EFFECT_ON_COST, measure_arms
from ftlit.study.running.check import first_cell
from ftlit.study.running.launchers.sharing import gpus, sharing
from ftlit.study.running.runner import duration
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import ArmProgress, Progress


@dataclass(frozen=True)
class PendingCells:
    """The cells of an arm that have not run.

    Args:
        arm: The arm.
        trials: Number of cells that are trials only, by the part of the full length that they train for.
        repetitions: Number of cells that are repetitions; with sequential seeds, at most.
        more_trials: Those of the trials that run only while verdicts are open.
        more_repetitions: The number of repetitions that do.
    """

    arm: Arm
    trials: Counter[float]
    repetitions: int
    more_trials: Counter[float]
    more_repetitions: int

    @property
    def most(self) -> int:
        """Number of cells if no verdict is reached early."""
        return self.trials.total() + self.repetitions

    @property
    def least(self) -> int:
        """Number of cells that run in any case."""
        return self.most - self.more_trials.total() - self.more_repetitions

    def seconds(self, study: Study, found: Preview) -> tuple[float, float]:
        """The seconds of all cells, and of those that run only while verdicts are open.

        Args:
            study: The study.
            found: What a cell in full length takes.
        """

        def total(trials: Counter[float], repetitions: int) -> float:
            tried = sum(found.seconds(splits(study, False), part) * count for part, count in trials.items())
            return tried + found.seconds(splits(study, True)) * repetitions

        return total(self.trials, self.repetitions), total(self.more_trials, self.more_repetitions)


def preview(plan: Plan, steps: int, file: Path) -> str:
    """Estimate the time, memory and disk space of the cells that have not run.

    Args:
        plan: The study.
        steps: Optimizer steps to measure for the longest and for the median batch of each kind of cell; 0 only counts cells.
        file: The study file.

    Raises:
        UserError: A cell could not run.
    """
    folder = Folder(plan.study.folder, plan.study.compare.split)
    progress = Progress(plan, folder) if (folder.path / "study.json").is_file() else None
    left = [_pending(plan, progress, i) for i in range(len(plan.arms))]
    if not steps:
        return counts_text(plan, progress, left)
    measured = dict(measure_arms(plan, steps))
    saved = _save(plan, folder, file, measured)
    parts = [
        counts_text(plan, progress, left),
        cost_table(plan.study, left, measured),
        cost_totals(plan.study, left, measured),
        saved,
    ]
    return "\n\n".join(filter(None, parts))


def _pending(plan: Plan, progress: Progress | None, i: int) -> PendingCells:
    """The cells of the arm with the index `i` that have not run."""
    if progress is None:
        now, most = len(plan.study.first_seeds), len(plan.study.seeds)
        ended, finished = Counter[int](), 0
    else:
        own = progress.arms[i]
        now, most = len(progress.seeds(own.arm)), len(progress.most_seeds(own.arm))
        ended, finished = _ended(plan, progress, own)
        ended[1] -= max(len(own.trials) - plan.trials_of_arm(now), 0)  # those of extended lists
    trials, config = _only_trials(plan, most), first_cell(plan, plan.arms[i]).config

    def parts(by_divisor: Counter[int]) -> Counter[float]:
        """Numbers of cells, by the part of the length instead of its divisor."""
        return Counter({part_of_length(config, divisor): count for divisor, count in by_divisor.items() if count > 0})

    more = trials - _only_trials(plan, now)
    trials.subtract(ended)
    return PendingCells(plan.arms[i], parts(trials), most - finished, parts(more), most - now)


def _only_trials(plan: Plan, seeds: int) -> Counter[int]:
    """Number of trials of an arm that has so many seeds that are no repetitions, by the divisor of their length."""
    return plan.lengths_of_arm(seeds) - Counter({1: plan.shared_of_arm(seeds)})


def _ended(plan: Plan, progress: Progress, arm: ArmProgress) -> tuple[Counter[int], int]:
    """The trials of an arm that have ended and are no repetitions, by the divisor of their length; and its repetitions."""
    ended = {name for name, state in progress.states.items() if state in ("done", "failed")}
    final = {cell.name for cell in arm.repetitions}
    select = plan.study.select
    divisors = select.rung_divisors if select else []
    tried = {cell.name: divisors[cell.rung - 1] if cell.rung else 1 for cell in arm.trials}
    return Counter(divisor for name, divisor in tried.items() if name in ended - final), len(final & ended)


def counts_text(plan: Plan, progress: Progress | None, left: list[PendingCells]) -> str:
    """The numbers of arms, trials and repetitions, and of cells that have not run."""
    study, arms = plan.study, len(plan.arms)
    lines = [f"{study.name}: {arms:,} arms, {plan.size_text}, in {study.folder}"]
    if study.select:
        shared = f", {plan.shared} of them also a repetition" if plan.shared else ""
        lines.append(f"{plan.budget} trials of each arm{shared}, {plan.budget * arms:,} in all")
    some, most = len(study.first_seeds), len(study.seeds)
    lines.append(f"{_range(some, most)} repetitions of each arm, {_range(some * arms, most * arms)} in all")
    counts = progress.counts if progress else {}
    known = ", ".join(f"{counts[state]:,} {state}" for state in ("done", "running", "failed") if counts.get(state))
    lines.append(f"{_cells(left)} left to run" + (f"; {known}" if known else ""))
    return "\n".join(lines)


def _cells(left: Iterable[PendingCells]) -> str:
    found = list(left)
    return f"{_range(sum(arm.least for arm in found), sum(arm.most for arm in found))} cells"


def _range(least: int, most: int) -> str:
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def splits(study: Study, repetition: bool) -> list[str]:
    """The splits on which the best checkpoint of a cell is evaluated."""
    return ["validation", "test"] if repetition and study.compare.split == "test" else ["validation"]


def cost_table(study: Study, left: list[PendingCells], measured: dict[str, Preview]) -> str:
    """A table of the time and memory that a cell of each arm takes."""
    headers = ["arm", "cells", "step (median)", "step (longest)", "a cell", "memory", "checkpoint", "fits"]
    rows = []
    for arm in left:
        found, count = measured[arm.arm.name], _range(arm.least, arm.most)
        if found.problem:
            rows.append([arm.arm.name, count, "", "", "", "", "", "no"])
            continue
        times = [f"{found.step_seconds[one]:.3f} s" for one in ("median", "longest")]
        sizes = [mebibytes(found.held_bytes), mebibytes(found.best_bytes)]
        fits = "yes" if found.held_bytes <= found.memory_bytes else "no"
        rows.append([arm.arm.name, count, *times, duration(found.seconds(splits(study, True))), *sizes, fits])
    problems = {f"{arm.arm.name}: {p}" for arm in left if (p := measured[arm.arm.name].problem)}
    return "\n".join([tabulate(rows, headers=headers, disable_numparse=True), *sorted(problems)])


def cost_totals(study: Study, left: list[PendingCells], measured: dict[str, Preview]) -> str:
    """The totals of all remaining cells that fit into memory."""
    known = [(arm, measured[arm.arm.name]) for arm in left if measured[arm.arm.name].problem is None]
    if not known:
        return ""
    devices = gpus() if study.launch.launcher == "local" else []
    at_once = sharing(study.launch, devices).free([])
    seconds, saved = (sum(some) for some in zip(*(arm.seconds(study, found) for arm, found in known), strict=True))
    shortest = f"{duration((seconds - saved) / at_once)} to " if saved else ""
    lines = [
        f"{_cells(arm for arm, _ in known)} take {shortest}{duration(seconds / at_once)} "
        f"({seconds / at_once / 3600:.2f} hours) with {at_once} at a time, measured one by one and without early stopping",
        _disk(study, known, at_once),
        _memory(known, -(-at_once // max(len(devices), 1))),
    ]
    if others := [
        key for key in (study.select.over if study.select else {}) if key.rsplit(".", 1)[-1] not in NO_EFFECT_ON_COST
    ]:
        lines.append(
            f"select.over varies {', '.join(others)}, which may change these figures: they were measured with the first value"
        )
    if study.select and study.select.method == "halving":
        lines.append(
            "a cell in the table has its full length; those that select.method: halving cuts short are counted as such"
        )
    return "\n".join(filter(None, lines))


def _disk(study: Study, known: list[tuple[PendingCells, Preview]], at_once: int) -> str:
    kept, temporary = 0, at_once * max(found.last_bytes for _, found in known)
    for arm, found in known:
        checkpoints = found.best_bytes + (found.last_bytes if study.keep == "all" else 0)
        kept += arm.repetitions * (found.predictions(splits(study, True)) + (0 if study.keep == "none" else checkpoints))
        kept += arm.trials.total() * (found.predictions(splits(study, False)) + (checkpoints if study.keep == "all" else 0))
        temporary += 0 if study.keep == "all" else arm.trials.total() * found.best_bytes
    free = shutil.disk_usage(next(path for path in [study.folder, *study.folder.absolute().parents] if path.exists())).free
    ends = f"{mebibytes(kept)} of disk space in the end (keep: {study.keep})"
    text = f"{ends}, {mebibytes(kept + temporary)} at most while it runs; {mebibytes(free)} are free"
    return text if kept + temporary <= free else f"{text}: this will not fit"


def _memory(known: list[tuple[PendingCells, Preview]], at_once: int) -> str:
    """The memory of the largest cells that share a device."""
    most, there = max(found.held_bytes for _, found in known) * at_once, known[0][1].memory_bytes
    text = f"{mebibytes(most)} of memory at most for {at_once} at a time on a device, which has {mebibytes(there)}"
    return text if most <= there else f"{text}: this will not fit, lower launch.jobs"


def _save(plan: Plan, folder: Folder, file: Path, measured: dict[str, Preview]) -> str:
    """Save the figures in the study's folder, for its cells and its report; returns why this failed, or an empty text."""
    try:
        folder.open(plan.study, file, runs=False)
    except UserError as error:
        return f"The plan was not saved: {error}"
    own = splits(plan.study, True)
    folder.write_plan({name: found.record(own) for name, found in measured.items()})
    return ""
