"""Kill a study's runner and its cells at random moments, and run two runners at once: nothing of the results may change.

python -m tests.support.study.survival --kills 10      # writes experiments/results/survival.md
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

from ftlit.study.state.folder import Folder
from tests.support.command_line import ROOT, start

RESULTS = Path("experiments/results/survival.md")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    kills = parser.parse_args().kills
    sys.path.insert(0, str(ROOT))
    from tests.support.data import sentiment_splits, write_splits
    from tests.support.models import tiny_model

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = twelve_cells(
            folder / "twelve.yaml", tiny_model(folder / "bert"), write_splits(folder / "data", sentiment_splits())
        )
        plain = undisturbed(file, folder / "plain")
        rough = disturbed(file, folder / "rough", kills)
        two = together(file, folder / "two")
    lines = [
        "# A study that is killed again and again",
        f"    python -m tests.support.study.survival --kills {kills}",
        f"Twelve cells of a tiny model, two at a time. Undisturbed: {plain.started} starts. Killed at random moments: "
        f"{rough.killed['runners']} runners and {rough.killed['cells']} cells, {rough.started} starts. "
        f"Two runners at once: {two.started} starts.",
        f"- results.csv of the killed study equals the undisturbed one byte for byte: {rough.results == plain.results}",
        f"- results.csv of the two runners equals it too: {two.results == plain.results}",
        f"- most times that a cell finished: {max(rough.finished.values())} killed, {max(two.finished.values())} by two",
    ]
    RESULTS.write_text("\n\n".join(lines[:3]) + "\n\n" + "\n".join(lines[3:]) + "\n", "utf-8")
    print("\n".join(lines[2:]))


if __name__ == "__main__":
    main()
