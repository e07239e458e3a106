"""What it saves to compute frozen layers once: training with stored hidden states and without, run after run in turn.

    python experiments/speed/trunk.py --data data/sst2 --rows 2000 --turns 3

A turn trains without stored states, with an empty folder for them, and once more with what is there then; each is
`python -m ftlit fit` in a process of its own. Seconds are those of training, and of computing and storing states.
Writes experiments/results/trunk.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from shared import BACKBONE, ratio, write_report

EPOCHS = 5
ARMS = {"linear probe": ["--model.tuning", "Frozen"], "top 2 layers": ["--model.tuning", "TopLayers", "--model.tuning.k", "2"]}
KINDS = {"without": "false", "empty": "true", "stored": "true"}


def seconds_of(run: Path, options: list[str], cache: Path) -> tuple[float, list[float]]:
    """The seconds of training, and the scores of the predictions on validation."""
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "ftlit", "fit", "--run_dir", str(run), *options]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    results = json.loads((run / "results.json").read_text())
    cost = results["efficiency"]
    rows = map(json.loads, (run / "predictions" / "validation.jsonl").read_text().splitlines())
    return cost["train_seconds"] + cost["trunk_seconds"], [score for row in rows for score in row["scores"].values()]


def turns_of(arm: list[str], options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], float]:
    """The seconds of each kind of run in each turn, and by how much scores with stored states differ at most."""
    common: list[Any] = [
        *("--model", "TextClassification", "--model.backbone", BACKBONE, *arm, "--model.head", "PooledHead"),
        *("--data", "TextClassificationData", "--data.dataset", options.data, "--data.text", "sentence"),
        *("--data.limit_train", options.rows, "--data.limit_validation", 400, "--trainer.max_epochs", EPOCHS),
        *("--trainer.precision", "32-true", "--patience", "null", "--trainer.enable_progress_bar", "false"),
    ]
    taken, difference = dict[str, list[float]]({kind: [] for kind in KINDS}), 0.0
    for turn in range(options.turns):
        scores = {}
        for kind, setting in KINDS.items():
            given = [*map(str, common), "--model.trunk_cache", setting]
            seconds, scores[kind] = seconds_of(folder / f"{turn} {kind}", given, folder / f"cache {turn}")
            taken[kind].append(seconds)
            print(arm, turn, kind, f"{seconds:.1f} s", flush=True)
        difference = max(difference, *(abs(a - b) for a, b in zip(scores["without"], scores["stored"], strict=True)))
    return taken, difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--rows", type=int, default=2000, help="training sentences")
    parser.add_argument("--turns", type=int, default=3, help="turns of the three runs; two or more")
    options = parser.parse_args()
    table: list[list[Any]] = []
    differences = []
    for name, arm in ARMS.items():
        with tempfile.TemporaryDirectory() as folder:
            taken, difference = turns_of(arm, options, Path(folder))
        differences.append(difference)
        table.append([f"{name}: {EPOCHS} epochs, states computed in the first", ratio(taken["empty"], taken["without"])])
        table.append([f"{name}: {EPOCHS} epochs, states there already", ratio(taken["stored"], taken["without"])])
    note = (
        f"The speed of training with stored states over that without: {EPOCHS} epochs of {options.rows:,} SST-2 sentences in "
        f"batches of 32, on all-MiniLM-L6-v2, float32, {options.turns} turns. Scores on validation differ by "
        f"at most {max(differences):.1e}."
    )
    write_report("trunk", "Frozen layers computed once", "trunk.py", options, table, note)


if __name__ == "__main__":
    main()
