"""Kill a study's runner and its cells at random moments, and run two runners at once: nothing of the results may change.

python -m tests.support.study.survival --kills 10      # writes experiments/results/survival.md; some 20 minutes on two cores
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from ftlit.study.state.folder import Folder
from tests.support.command_line import ROOT, start

RESULTS = Path("experiments/results/survival.md")
FROZEN = {"probe": {"model.tuning": "Frozen"}, "top": {"model.tuning": "TopLayers", "model.tuning.k": 1}}
RATES = {"over": {"model.optimizer.init_args.lr": [1e-4, 1e-3, 1e-2]}, "nested": True}
# Keys that the kinds of studies add to `twelve_cells`.
STUDIES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "sequential seeds": {"seeds": {"at_least": 3, "at_most": 6}},
    "stored states": {"axes": {"tuning": FROZEN}, "compare": {"metric": "accuracy", "baseline": "probe"}},
    "chosen rates": {"seeds": 2, "select": RATES},
}


@dataclass(frozen=True)
class Outcome:
    """What a study left.

    Args:
        results: Its results.csv.
        finished: How often each cell was finished.
        started: How often cells were started.
        killed: How many runners and cells were killed.
    """

    results: bytes
    finished: Counter[str]
    started: int
    killed: Counter[str]


def twelve_cells(file: Path, model: str, data: str, **keys: Any) -> Path:
    """Write a study of two tuning methods and six seeds, or with other keys, whose cells take some seconds."""
    study = {
        "base": {
            "trainer": {"max_epochs": 12, "accelerator": "cpu"},
            "patience": None,
            "save_every_n_steps": 7,
            "model": {"class_path": "TextClassification", "init_args": {
                "backbone": model, "optimizer": {"class_path": "AdamW", "init_args": {"lr": 1e-3}},
            }},
            "data": {"class_path": "TextClassificationData", "init_args": {
                "dataset": data, "batching": {"class_path": "LengthGrouped", "init_args": {"batch_size": 8}},
            }},
        },
        "axes": {"tuning": {"full": {"model.tuning": "Full"}, "lora": {"model.tuning": "LoRA"}}},
        "seeds": 6,
        "compare": {"metric": "accuracy", "baseline": "full"},
        "launch": {"jobs": 2, "threads": 1},
        **keys,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


def runner(file: Path, folder: Path) -> "subprocess.Popen[str]":
    """Start a runner, with a cache of its study's own."""
    cache = folder.with_name(f"{folder.name}-cache")
    return start(["study", "run", str(file), "--folder", str(folder)], HF_DATASETS_CACHE=str(cache))


def finish(process: "subprocess.Popen[str]") -> None:
    """Wait for a runner that is not disturbed.

    Raises:
        RuntimeError: It failed.
    """
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the runner left with {process.returncode}:\n{output}")


def outcome(folder: Path, killed: Counter[str] | None = None) -> Outcome:
    """What a study has left in its folder."""
    history = Folder(folder).history()
    finished = Counter(line["cell"] for line in history if line["event"] == "finished")
    started = sum(line["event"] == "started" for line in history)
    return Outcome((folder / "report/results.csv").read_bytes(), finished, started, killed or Counter())


def undisturbed(file: Path, folder: Path) -> Outcome:
    """Run a study to its end."""
    finish(runner(file, folder))
    return outcome(folder)


def disturbed(file: Path, folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Run a study whose runner or one of whose cells is killed so many times."""
    source, killed = random.Random(seed), Counter[str]()
    process = runner(file, folder)
    while killed.total() < kills and process.poll() is None:
        time.sleep(source.uniform(0.5, 4.0))
        cells = running(folder)
        if cells and source.random() < 0.6:
            killed["cells"] += _kill(source.choice(cells))
        elif cells or source.random() < 0.2:  # now and then before anything has begun
            process.kill()
            process.communicate()
            killed["runners"] += 1
            process = runner(file, folder)
    finish(process)
    return outcome(folder, killed)


def running(folder: Path) -> list[int]:
    """Processes of cells that have started and not ended."""
    last = {line["by"].split(":")[1]: line["event"] for line in Folder(folder).history()}
    return [int(pid) for pid, event in last.items() if event == "started" and Path(f"/proc/{pid}").exists()]


def _kill(pid: int) -> int:
    """Kill a process; 0 if it has ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def together(file: Path, folder: Path) -> Outcome:
    """Run a study by two runners at once."""
    both = [runner(file, folder), runner(file, folder)]
    for process in both:
        finish(process)
    return outcome(folder)


def row(kind: str, file: Path, place: Path, kills: int) -> dict[str, Any]:
    """Run a study undisturbed, killed, and by two runners; returns what differs as a row of the table."""
    plain = undisturbed(file, place / "plain")
    rough, two = disturbed(file, place / "rough", kills), together(file, place / "two")
    return {
        "study": kind,
        "cells": len(plain.finished),
        "starts": plain.started,
        "killed runners": rough.killed["runners"],
        "killed cells": rough.killed["cells"],
        "starts when killed": rough.started,
        "same results, killed": rough.results == plain.results,
        "same results, two runners": two.results == plain.results,
        "each cell as often": rough.finished == plain.finished == two.finished,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    kills = parser.parse_args().kills
    sys.path.insert(0, str(ROOT))
    from tests.support.data import sentiment_splits, write_splits
    from tests.support.models import tiny_model

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model, data = tiny_model(Path(folder) / "bert"), write_splits(Path(folder) / "data", sentiment_splits())
        for kind, keys in STUDIES.items():
            (place := Path(folder) / kind.replace(" ", "_")).mkdir()
            rows.append(row(kind, twelve_cells(place / "twelve.yaml", model, data, **keys), place, kills))
            print(rows[-1], flush=True)
    lines = [
        "# Studies that are killed again and again",
        f"    python -m tests.support.study.survival --kills {kills}",
        "Studies of a tiny model with up to twelve repetitions, two cells at a time: without anything special, with seeds "
        "that are added until verdicts are reached, with stored states of frozen layers, and with learning rates that each "
        "seed chooses. Each runs undisturbed, with runners and cells killed at random moments, and by two runners at once. "
        "`same results` says whether results.csv is the same byte for byte.",
        tabulate(rows, headers="keys", tablefmt="pipe"),
    ]
    RESULTS.write_text("\n\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
