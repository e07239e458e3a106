"""What a study's cell costs beyond its own training: forked from a warm process, and as a process of its own.

    PYTHONPATH=. python experiments/speed/cells.py --cells 6

Each cell takes one step on 16 rows and is evaluated on 16 rows of validation and of test; what results.json gives as seconds of
training and of evaluation is taken off, and the rest is overhead. Both kinds alternate, and so do full tuning and LoRA. Writes
experiments/results/cells.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.file import read_study
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.launchers.sharing import Sharing
from ftlit.study.running.worker import Job
from ftlit.study.state.folder import Folder
from ftlit.util.files import read_json

RESULTS = Path("experiments/results/cells.md")
LIMITS = {f"data.limit_{split}": 16 for split in ("train", "validation", "test")}


def one_step(place: Path, cells: int) -> Plan:
    """A study whose cells take one step."""
    file = place / "cells.yaml"
    study = {
        "base": str(Path("configs/quickstart.yaml").absolute()),
        "set": {**LIMITS, "evaluate_untrained": False, "trainer.max_epochs": 1, "patience": None},
        "axes": {"tuning": {"full": {"model.tuning": "Full"}, "lora": {"model.tuning": "LoRA"}}},
        "seeds": cells,
        "compare": {"metric": "accuracy", "baseline": "full"},
        "folder": str(place / "study"),
    }
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return Plan(read_study(file))


def warm(executor: Local, folder: Folder, cell: Cell) -> float:
    """Seconds of a cell that is forked, without its training and evaluation."""
    began = time.monotonic()
    executor.submit(Job(folder.path, cell, "test", "none", threads=1))
    while executor.running:
        executor.wait(1.0)
    return time.monotonic() - began - own(folder.run_dir(cell.name))


def separate(folder: Folder, cell: Cell, run_dir: Path) -> float:
    """Seconds of the same cell as a process of its own, without its training and evaluation."""
    options = ["--run_dir", str(run_dir), "--test_after_fit=true", "--trainer.enable_progress_bar=false"]
    command = [sys.executable, "-m", "ftlit", "fit", "--config", str(folder.config(cell.name)), *options]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.monotonic() - began - own(run_dir)


def own(run_dir: Path) -> float:
    """Seconds of training and evaluation of a run."""
    efficiency = read_json(run_dir / "results.json")["efficiency"]
    return float(efficiency["train_seconds"] + efficiency["evaluation_seconds"])


def spread(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=6, help="cells of each kind")
    count = parser.parse_args().cells
    with tempfile.TemporaryDirectory() as place:
        plan = one_step(Path(place), count)
        folder = Folder(plan.study.folder)
        folder.open(plan.study, Path("cells.yaml"))
        arms = [plan.repetitions(arm, {}) for arm in plan.arms]
        cells = [cell for pair in zip(*arms, strict=True) for cell in pair][: count + 1]  # full tuning and LoRA in turn
        executor, forked, alone = Local(Sharing()), [], []
        first = warm(executor, folder, cells[0])
        for i, cell in enumerate(cells[1:]):
            forked.append(warm(executor, folder, cell))
            alone.append(separate(folder, cell, Path(place) / f"alone{i}"))
    ratios = [b / a for a, b in zip(forked, alone, strict=True)]
    text = (
        f"# What a cell costs beyond its own training and evaluation\n\n"
        f"    PYTHONPATH=. python experiments/speed/cells.py --cells {count}\n\n"
        f"all-MiniLM-L6-v2, one thread, {count} cells of each kind in turn, full tuning and LoRA in turn, seconds as median "
        "and range:\n\n"
        f"- forked from a warm process: {spread(forked)}; the first one, which waits for the imports: {first:.2f}\n"
        f"- a process of its own: {spread(alone)}, {spread(ratios)} times as much\n"
    )
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
