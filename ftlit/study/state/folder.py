"""The folder of a study: its only record, shared by all processes that work on the study.

study.json          name and file of the study, the precision of cells whose config names none, and the hashes of its data
study.yaml          the study as it was last run: its file with included files and options of the command
configs/<cell>.yaml config of a cell, as passed to `fit`
cells/<cell>/       run folder of a cell
logs/<cell>.log     output of a cell
failed/<cell>.json  error of a cell that failed
claims/<cell>       lock, held by the process that runs a cell
history.jsonl       when each cell was started, finished or failed, and by which process
plan.json           estimated time and memory of a cell of each arm
looks.json          what the looks at sequential seeds said, which follows from the cells
report/             report.html, report.md, results.csv, efficiency.csv, table.tex
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from ftlit.errors import UserError
from ftlit.runs.files import CHECKPOINTS, LAST, RECORD
from ftlit.runs.reading import RunFolder
from ftlit.runs.secrets import write_config
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.file import STUDY_FILE
from ftlit.study.plan.fingerprint import contents
from ftlit.study.plan.settings import Study
from ftlit.study.state.tracking import grouped
from ftlit.util.files import read_json, write_json
from ftlit.util.settings import flat, read_yaml, value_at, with_value

PREDICTED = ("seconds", "train_seconds", "steps", "peak_memory_bytes", "peak_reserved_bytes", "checkpoint_bytes")
State = Literal["done", "failed", "running", "pending"]
ELSEWHERE = ("folder", "launch", "keep")  # keys of a study that do not decide its cells


def accelerator_of(config: dict[str, Any]) -> str:
    """The option `trainer.accelerator` of a config."""
    return str(value_at(config, "trainer.accelerator") or "auto")


class Folder:
    """The folder of a study.

    Args:
        path: Path of the folder.
        split: The split on which repetitions are compared.
    """

    def __init__(self, path: Path, split: str = "test") -> None:
        self.path, self.split = path, split
        self._done: set[tuple[str, bool]] = set()

    def open(self, study: Study, file: Path, runs: bool = True) -> None:
        """Create the folder, or continue with an existing one.

        Args:
            study: The study, which is saved in the folder.
            file: Its file.
            runs: Whether its cells run now, rather than being planned.

        Raises:
            UserError: The folder belongs to another study, or is not the folder of a study.
        """
        others = self._others()  # before the record is read, which the folder's first runner writes before anything else
        name, known = study.name, read_json(self.path / "study.json")
        if known and known.get("name") != name:
            raise UserError(
                f"{self.path} belongs to the study {known.get('name')!r} ({known.get('file')}), not to {name!r}; "
                "choose another folder: --folder runs/studies/other"
            )
        if not known and others:
            raise UserError(f"{self.path} is not empty and holds no study; choose another folder: --folder runs/studies/other")
        known |= {"name": name} if file.is_dir() else {"name": name, "file": str(file)}
        write_json(self.path / "study.json", known)
        for inner in ("configs", "cells", "logs", "failed", "claims"):
            (self.path / inner).mkdir(parents=True, exist_ok=True)
        if runs or not (self.path / STUDY_FILE).is_file():
            write_config(self.path / STUDY_FILE, yaml.safe_dump(study.content, sort_keys=False, allow_unicode=True))
        data = contents(arm.config for arm in Plan(study).arms)
        write_json(self.path / "study.json", {**known, "data": {**known.get("data", {}), **data}})

    def _others(self) -> bool:
        """Whether the folder holds anything beside the record of a study, or one that is being written."""
        return self.path.is_dir() and any(not entry.name.startswith("study.json") for entry in self.path.iterdir())

    def settle_precision(self, defaults: dict[str, str]) -> None:
        """Decide once which precision the cells have whose config names none, so that all machines train them in the same.

        Args:
            defaults: The default precision of this machine by the option `trainer.accelerator`. What earlier cells of this
                folder were trained in has priority.
        """
        known = read_json(self.path / "study.json")
        settled = known.get("precision") or self._trained_precision()
        write_json(self.path / "study.json", {**known, "precision": {**defaults, **settled}})

    def _trained_precision(self) -> dict[str, str]:
        """The precision of a cell whose config names none, by its accelerator; empty without such a cell."""
        for path in sorted((self.path / "cells").iterdir()):
            trained, config = RunFolder(path).record.get("precision"), self.config(path.name)
            given = read_yaml(config) if trained and config.is_file() else {"trainer": {"precision": trained}}
            if value_at(given, "trainer.precision") is None:
                return {accelerator_of(given): str(trained)}
        return {}

    def changes(self, study: Study) -> list[str]:
        """The keys of a study that differ from those it was last run with; empty if it has not been run."""
        path = self.path / STUDY_FILE
        if not path.is_file():
            return []
        then, now = (dict(flat(_compared(content))) for content in (read_yaml(path), study.content))
        return [key for key in {**then, **now} if then.get(key) != now.get(key)]

    def finished(self) -> int:
        """Number of runs in the folder that have finished."""
        return sum(RunFolder(path).finished for path in (self.path / "cells").iterdir())

    def run_dir(self, name: str) -> Path:
        return self.path / "cells" / name

    def config(self, name: str) -> Path:
        return self.path / "configs" / f"{name}.yaml"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def write_config(self, cell: Cell) -> None:
        """Write the config of a cell; `fit` with this config reproduces the run on its own."""
        study = str(read_json(self.path / "study.json").get("name"))
        config = {**grouped(cell, study), "run_dir": str(self.run_dir(cell.name))}
        settled = read_json(self.path / "study.json").get("precision", {}).get(accelerator_of(config))
        if settled and value_at(config, "trainer.precision") is None:
            config = with_value(config, "trainer.precision", settled)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        write_config(self.config(cell.name), f"# {cell.title}\n{text}")

    def state(self, cell: Cell) -> State:
        """Whether a cell is done, failed, running or pending."""
        if self.done(cell):
            return "done"
        if self.error(cell.name) is not None:
            return "failed"
        return "running" if self.claimed(cell.name) else "pending"

    def done(self, cell: Cell) -> bool:
        """Whether a cell has finished and has been evaluated on all splits that it needs."""
        key = (cell.name, cell.final)
        if key not in self._done:
            run = RunFolder(self.run_dir(cell.name))
            wanted = self.split if cell.final else "validation"
            if wanted in run.results and run.finished:
                self._done.add(key)
        return key in self._done

    def score(self, cell: Cell, metric: str) -> float | None:
        """A metric of a cell on validation: NaN if the cell failed, None if it has not finished."""
        if self.done(cell):
            return float(RunFolder(self.run_dir(cell.name)).results["validation"].get(metric, float("nan")))
        return float("nan") if self.error(cell.name) is not None else None

    def error(self, name: str) -> str | None:
        """The error of a failed cell; None if the cell did not fail."""
        path = self.path / "failed" / f"{name}.json"
        return str(read_json(path)["error"]) if path.is_file() else None

    def fail(self, name: str, error: str) -> None:
        """Record that a cell failed."""
        write_json(self.path / "failed" / f"{name}.json", {"error": error, "time": time.time(), "log": str(self.log(name))})
        self.note("failed", name, error=error)

    def clear_failures(self) -> list[str]:
        """Delete the records of failures so that these cells run again; returns their names."""
        files = sorted((self.path / "failed").glob("*.json"))
        for file in files:
            file.unlink()
        return [file.stem for file in files]

    def cell_progress(self, name: str) -> dict[str, Any]:
        """The steps done, the total steps and the start time of a running cell."""
        return RunFolder(self.run_dir(name)).progress

    def write_plan(self, estimates: dict[str, dict[str, Any]]) -> None:
        """Save the estimated time and memory of a cell of each arm, by the arm's name."""
        write_json(self.path / "plan.json", estimates)

    def note_predicted(self, cell: Cell) -> None:
        """Add the estimates for a finished cell to its run.json, if the study was planned."""
        found, path = read_json(self.path / "plan.json").get(cell.arm.name), self.run_dir(cell.name) / RECORD
        if found and found["problem"] is None:
            write_json(path, {**read_json(path), "predicted": {key: found[key] for key in PREDICTED}})

    def prune_checkpoints(self, cell: Cell, keep: str) -> None:
        """Remove the checkpoints of a finished cell that `keep` does not ask for."""
        if keep == "none" and cell.final:
            self.drop_checkpoints(cell.name)
        elif keep != "all":
            (self.run_dir(cell.name) / LAST).unlink(missing_ok=True)

    def drop_checkpoints(self, name: str) -> None:
        """Remove the checkpoints of a trial that was not chosen."""
        shutil.rmtree(self.run_dir(name) / CHECKPOINTS, ignore_errors=True)

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Lock a cell for this process; yields False if another process has it. The lock is freed if the process dies."""
        lock = FileLock(self.path / "claims" / name, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def claimed(self, name: str) -> bool:
        """Whether a process has locked the cell."""
        if not (self.path / "claims" / name).exists():
            return False
        with self.claim(name) as free:
            return not free

    def note(self, event: str, name: str, **values: Any) -> None:
        """Append a line to the history. Lines are short, so those of several processes do not mix."""
        line = {"time": time.time(), "event": event, "cell": name, "by": self._process, **values}
        with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """The lines of the history, without a line that was cut off when a process was killed."""
        path = self.path / "history.jsonl"
        found = []
        for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def last_events(self) -> dict[str, str]:
        """The last event in the history of each cell."""
        return {line["cell"]: line["event"] for line in self.history()}

    @cached_property
    def _process(self) -> str:
        return f"{socket.gethostname()}:{os.getpid()}"


def _compared(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a study file that decides its cells and its report, as it is after writing and reading it."""
    return yaml.safe_load(yaml.safe_dump({key: value for key, value in content.items() if key not in ELSEWHERE}))
