"""Where the CPU time of a study's cell goes.

    PYTHONPATH=.:experiments/speed python experiments/speed/cell_phases.py --study experiments/studies/quickstart.yaml

Runs one cell of each arm as the runner does, forked from a process that is warm, with one thread, and takes the CPU time of
functions without that of other functions in the list. The first two cells take one step on 16 rows: they show what a cell
costs beside its training. Writes experiments/results/cell_phases.md.
"""

import argparse
import functools
import importlib
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells import one_step
from tabulate import tabulate

from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.file import read_study
from ftlit.study.running.check import first_cell
from ftlit.study.running.worker import Job, _run
from ftlit.study.state.folder import Folder

RESULTS = Path("experiments/results/cell_phases.md")
LIGHTNING = "lightning.pytorch"
PHASES = {
    "config: parser": [f"{LIGHTNING}.cli:LightningCLI.setup_parser"],
    "config: parsing": ["ftlit.commands.cli:TaskCLI.parse_arguments", "ftlit.commands.cli:TaskCLI._config_text"],
    "config: objects": ["ftlit.commands.cli:TaskCLI.instantiate_classes", "ftlit.commands.cli:TaskCLI._dump_config"],
    "model: build": ["ftlit.tasks.shared.base:TaskModule.build"],
    "model: load": ["ftlit.tasks.shared.building:load_model"],
    "data: tokenizer": ["ftlit.data.shared.base:load_tokenizer"],
    "data: rows and features": ["ftlit.data.shared.base:TaskData.setup", "ftlit.commands.evaluate:data_report"],
    "training: set-up": [f"{LIGHTNING}.trainer.trainer:Trainer.fit"],
    "training: steps": [f"{LIGHTNING}.loops.training_epoch_loop:_TrainingEpochLoop.advance"],
    "checkpoints": [
        "ftlit.runs.checkpoint:AtomicCheckpointIO.save_checkpoint",
        f"{LIGHTNING}.trainer.connectors.checkpoint_connector:_CheckpointConnector.dump_checkpoint",
    ],
    "evaluation: set-up": [f"{LIGHTNING}.trainer.trainer:Trainer.validate", f"{LIGHTNING}.trainer.trainer:Trainer.test"],
    "evaluation: batches": [f"{LIGHTNING}.loops.evaluation_loop:_EvaluationLoop.run"],
    "confusion matrix: picture": ["ftlit.commands.report:plot_confusion"],
    "waiting for the disk": ["ftlit.util.files:_flush"],
}
OTHER, WHOLE = "other", "whole"
spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # seconds of CPU, and by the clock
running, since = [OTHER], [0.0, 0.0]


def charge() -> None:
    """Add the time since the last call to the phase that is running."""
    now = time.process_time(), time.monotonic()
    for i in (0, 1):
        spent[running[-1]][i] += now[i] - since[i]
    since[:] = now


def timed(phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose time is that of a phase."""

    @functools.wraps(call)
    def inside(*args: Any, **kwargs: Any) -> Any:
        charge()
        running.append(phase)
        try:
            return call(*args, **kwargs)
        finally:
            charge()
            running.pop()

    return inside


def watch() -> None:
    """Time the functions of all phases."""
    for phase, places in PHASES.items():
        for place in places:
            module, _, path = place.partition(":")
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            setattr(owner, name, timed(phase, getattr(owner, name)))


def measured(folder: Folder, cell: Cell) -> dict[str, list[float]]:
    """Run a cell in a fork, and return the seconds of its phases."""
    with tempfile.NamedTemporaryFile("r") as answer:
        begun = time.monotonic()
        if not (child := os.fork()):
            spent.clear()
            since[:] = time.process_time(), time.monotonic()
            _run(Job(folder.path, cell, "test", "best", threads=1), folder)
            charge()
            Path(answer.name).write_text(json.dumps(spent))
            os._exit(0)
        used = os.wait4(child, 0)[2]
        whole = [used.ru_utime + used.ru_stime, time.monotonic() - begun]
        phases = {phase: seconds for phase, seconds in json.load(answer).items() if phase != OTHER}
        rest = [whole[i] - sum(seconds[i] for seconds in phases.values()) for i in (0, 1)]
        return {**phases, OTHER: rest, WHOLE: whole}


def cells_of(studies: list[Path], place: Path) -> Iterator[tuple[str, Plan, Cell]]:
    """A cell of each arm, with a title."""
    plan = one_step(place, 1)
    for arm in plan.arms:
        yield f"one step, {arm.name}", plan, plan.repetitions(arm, {})[0]
    for file in studies:
        study = read_study(file)
        plan = Plan(replace(study, folder=place / study.name))
        for arm in plan.arms:
            yield f"{study.name}, {arm.name}", plan, first_cell(plan, arm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, action="append", default=[], help="a study file; may be repeated")
    studies = parser.parse_args().study
    import ftlit.study.running.preload  # noqa: F401

    watch()
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for title, plan, cell in cells_of(studies, Path(place)):
            folder = Folder(plan.study.folder)
            folder.open(plan.study, Path("cells.yaml"))
            found[title] = measured(folder, cell)
    rows = [[phase, *(f"{times.get(phase, [0.0])[0]:.2f}" for times in found.values())] for phase in [*PHASES, OTHER, WHOLE]]
    rows.append(["by the clock", *(f"{times[WHOLE][1]:.2f}" for times in found.values())])
    rows.append(["of it, waiting for the disk", *(f"{times['waiting for the disk'][1]:.2f}" for times in found.values())])
    given = "".join(f" --study {file}" for file in studies)
    text = (
        "# Where the CPU time of a cell goes\n\n"
        f"    PYTHONPATH=.:experiments/speed python experiments/speed/cell_phases.py{given}\n\n"
        "One cell of each arm, forked from a warm process, one thread, seconds. `other` is the rest of the whole, with what it "
        "takes to fork and to end a process.\n\n" + tabulate(rows, headers=["CPU seconds", *found], tablefmt="github") + "\n"
    )
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
