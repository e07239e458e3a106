"""Measure a few real steps of each kind of cell, in processes like those that run cells."""

import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from ftlit.commands.planning.preview import Preview
from ftlit.errors import UserError
from ftlit.runs.files import CONFIG
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.settings import Study
from ftlit.study.running.check import first_cell, problems
from ftlit.study.running.launchers.sharing import gpus
from ftlit.study.running.worker import follow_parent
from ftlit.util.options import OPTIONS

# Keys that affect neither time nor memory.
NO_EFFECT_ON_COST = {key.rsplit(".", 1)[-1] for key, option in OPTIONS.items() if not option.time}

# Python removes the semaphores of a process that was killed, but warns of them.
KILLED_QUIETLY = "ignore::UserWarning:multiprocessing.resource_tracker"


def cell_kind(config: dict[str, Any]) -> str:
    """The part of a config that decides the time and memory of a cell: all but learning rates and seeds."""
    return json.dumps(_without_rates(config), sort_keys=True, default=str)


def _without_rates(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_rates(inner) for key, inner in value.items() if key not in NO_EFFECT_ON_COST}
    return [_without_rates(inner) for inner in value] if isinstance(value, list) else value


def measure_arms(plan: Plan, steps: int) -> Iterator[tuple[str, Preview]]:
    """Measure a cell of each arm, each kind of cell once and in a separate process."""
    known: dict[str, Preview] = {}
    for arm in plan.arms:
        cell = first_cell(plan, arm)
        if (own := cell_kind(cell.config)) not in known:
            print(f"measuring {arm.name}", flush=True)
            known[own] = _in_process(cell, plan.study, steps)
        yield arm.name, known[own]


def _in_process(cell: Cell, study: Study, steps: int) -> Preview:
    """Measure a cell in a process that is forked like those of cells."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ftlit.study.running.preload"])
    os.environ.setdefault("PYTHONWARNINGS", KILLED_QUIETLY)
    mine, theirs = context.Pipe(duplex=False)
    device = next(iter(gpus()), None)
    process = context.Process(target=_answer, args=(cell, steps, study.launch.threads, device, theirs))
    process.start()
    theirs.close()
    try:
        found = mine.recv()
    except EOFError:
        found = None
    except KeyboardInterrupt:
        process.kill()
        raise
    process.join()
    if isinstance(found, str):
        raise UserError(found)
    return found or Preview(problem=f"its process died with exit code {process.exitcode}; memory may have run out")


def _answer(cell: Cell, steps: int, threads: int, device: str | None, answer: Any) -> None:
    """Send the measurements of a cell, or an error message; nothing if nobody waits for them any more."""
    follow_parent()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    import torch

    torch.set_num_threads(threads)
    found: Preview | str
    try:
        found = _rehearsed(cell, steps)
    except UserError as error:
        found = str(error)
    with suppress(BrokenPipeError):
        answer.send(found)


def _rehearsed(cell: Cell, steps: int) -> Preview:
    from ftlit.commands.cli import TaskCLI
    from ftlit.commands.planning.rehearsal import rehearse
    from ftlit.util.startup import quiet

    found = []

    class Rehearsed(TaskCLI):
        """The command line, except that the plan is kept instead of printed."""

        def plan(self, splits: list[str]) -> None:
            found.append(
                rehearse(self.trainer, self.model, self.datamodule, self.options.evaluate_untrained, self.began, steps)
            )

    quiet()
    with tempfile.TemporaryDirectory() as folder, problems(f"the arm {cell.arm.name!r}"):
        file = Path(folder) / CONFIG
        file.write_text(yaml.safe_dump({**cell.config, "run_dir": f"{folder}/run"}), "utf-8")
        Rehearsed(["fit", "--config", str(file), "--plan"])
    return found[0]
