"""What it saves to compute a teacher's outputs once: epochs after the first with stored outputs and without, in turn.

    python experiments/speed/teacher.py --data data/sst2 --rows 1000 --turns 3

The student has three of the six layers of the teacher. A turn trains once where the teacher computes in each batch, and once
where its outputs are stored; each is `python -m ftlit fit` in a process of its own. Seconds are those of the epochs after the
first. Writes experiments/results/teacher.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lightning import Callback

sys.path.insert(0, str(Path(__file__).parent))

from shared import BACKBONE, now, ratio, write_report

EPOCHS = 3
TIMES = "epochs.txt"  # the file of a run's folder that has the seconds of each epoch


class EpochTimes(Callback):
    """Writes the seconds of each epoch to a file of the run's folder."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.began = now()

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            with Path(trainer.default_root_dir, TIMES).open("a") as file:
                file.write(f"{now() - self.began}\n")


class InEachBatch(EpochTimes):
    """Takes the stored outputs away, so that the teacher computes in each batch."""

    def on_before_zero_grad(self, trainer: Any, module: Any, *_: Any) -> None:
        module.teacher.stored.clear()


def fit(run: Path, options: list[Any], cache: Path) -> list[float]:
    """Train; return the seconds of the epochs after the first."""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"HF_DATASETS_CACHE": str(cache), "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "ftlit", "fit", "--run_dir", str(run), *map(str, options)]
    subprocess.run(command, check=True, env={**os.environ, **own}, stdout=subprocess.DEVNULL)
    return [float(line) for line in (run / TIMES).read_text().splitlines()][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--rows", type=int, default=1000, help="training sentences")
    parser.add_argument("--turns", type=int, default=3, help="turns of the two runs")
    options = parser.parse_args()
    common = [
        *("--model", "TextClassification", "--model.backbone", BACKBONE, "--model.head", "PooledHead"),
        *("--data", "TextClassificationData", "--data.dataset", options.data, "--data.text", "sentence"),
        *("--data.limit_validation", 64, "--trainer.precision", "32-true", "--trainer.accelerator", "cpu"),
        *("--patience", "null", "--trainer.enable_progress_bar", "false"),
    ]
    kinds: dict[str, list[float]] = {"EpochTimes": [], "InEachBatch": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        teacher = ["--trainer.callbacks=teacher.EpochTimes", "--trainer.max_epochs", 1, "--data.limit_train", 64]
        fit(folder / "teacher", [*common, *teacher], folder / "cache")
        student = [
            *("--model.keep_layers", "[0, 2, 4]", "--model.teacher", folder / "teacher", "--model.loss", "Distillation"),
            *("--trainer.max_epochs", EPOCHS, "--data.limit_train", options.rows),
        ]
        for turn in range(options.turns):
            for kind, seconds in kinds.items():
                given = [*common, *student, f"--trainer.callbacks=teacher.{kind}"]
                seconds += fit(folder / f"{kind} {turn}", given, folder / "cache")
                print(kind, turn, " ".join(f"{one:.2f} s" for one in seconds[1 - EPOCHS :]), flush=True)
    table: list[list[Any]] = [["epochs after the first, outputs stored", ratio(kinds["EpochTimes"], kinds["InEachBatch"])]]
    note = (
        f"The speed of these epochs over that where the teacher computes in each batch: {options.rows:,} SST-2 sentences in "
        "batches of 32, three layers of all-MiniLM-L6-v2 that learn from all six, float32."
    )
    write_report("teacher", "Outputs of a teacher computed once", "teacher.py", options, table, note)


if __name__ == "__main__":
    main()
