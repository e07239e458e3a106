"""Speed of ftlit beside a bare PyTorch loop and transformers' Trainer, in turn within one call.

    python experiments/speed/overhead.py --data data/sst2 --steps 200 --rows 4096 --seeds 3

First the same work for all three: the very same random batches of 32 in float32, fused AdamW, no clipping; writes
experiments/results/speed.md. Then ftlit and Trainer with their own defaults, trained to the end, with the accuracy that each
reaches; validations do not count; writes experiments/results/speed_defaults.md. They take turns after every 32 examples, so
that a machine that changes its speed does not matter.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from shared import BATCH, Turns, bare, collated, data_of, equal_work, ftlit, ratio, trainer, write_report
from torch.utils.data import DataLoader

from ftlit.data.shared.base import TaskData
from ftlit.metrics.evidence.scores import mean_of
from ftlit.runs.reading import RunFolder
from ftlit.study.statistics.compare import Comparison, compare
from ftlit.study.statistics.runs import Evidence
from ftlit.training.trainer import default_precision
from ftlit.util.startup import quiet


def same_work(data: str, steps: int) -> dict[str, list[float]]:
    """Seconds of each step of each."""
    rows = data_of(data, steps * BATCH)
    settings = {
        "per_device_train_batch_size": BATCH,
        "max_steps": steps,
        "use_cpu": True,
        "train_sampling_strategy": "sequential",
        "optim": "adamw_torch_fused",
        "max_grad_norm": 0.0,
        "logging_steps": 10,
    }
    turns = Turns(["bare loop", "Trainer", "ftlit"])
    turns.run(
        {
            "bare loop": lambda turn: bare(turn, rows),
            "Trainer": lambda turn: trainer(turn, rows, **settings),
            "ftlit": lambda turn: ftlit(turn, data, *equal_work(steps)),
        }
    )
    return turns.seconds


def own_defaults(data: str, rows: int, epochs: int, seed: int) -> tuple[dict[str, list[float]], dict[str, list[bool]]]:
    """Seconds that ftlit and Trainer with their defaults take for every 32 examples, and which test examples they get right."""
    encoded, turns = data_of(data, rows), Turns(["Trainer", "ftlit"])
    options = [f"--data.limit_train={rows}", f"--trainer.max_epochs={epochs}", f"--seed_everything={seed}"]
    found = turns.run(
        {
            "Trainer": lambda turn: trainer(turn, encoded, use_cpu=True, num_train_epochs=epochs, seed=seed),
            "ftlit": lambda turn: ftlit(turn, data, "--test_after_fit=true", "--patience=null", *options),
        }
    )
    predictions = RunFolder(found["ftlit"]).prediction_rows("test")
    right = {"Trainer": rights(found["Trainer"], encoded), "ftlit": [row["prediction"] == row["label"] for row in predictions]}
    return turns.seconds, right


@torch.no_grad()
def rights(net: Any, data: TaskData) -> list[bool]:
    """Whether a model gets each example of the test split right."""
    right, pad = list[bool](), collated(data)
    net.eval()
    for batch in DataLoader(data.encoded["test"], 64, collate_fn=pad):  # type: ignore[arg-type]
        labels = batch.pop("labels")
        right += (net(**batch).logits.argmax(1) == labels).tolist()
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument(
        "--steps", type=int, default=100, help="optimizer steps of each in the first comparison; 0 leaves it out"
    )
    parser.add_argument("--rows", type=int, default=2048, help="training rows of the second comparison")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of the second comparison; 0 leaves it out")
    options = parser.parse_args()
    quiet()
    sys.argv = [sys.argv[0]]
    if options.steps:
        report_same_work(options)
    if options.seeds:
        report_own_defaults(options)


def report_same_work(options: argparse.Namespace) -> None:
    """Time the same work, and write experiments/results/speed.md."""
    same = same_work(options.data, options.steps)
    table = [
        ["ftlit / bare loop", ratio(same["ftlit"], same["bare loop"])],
        ["ftlit / Trainer", ratio(same["ftlit"], same["Trainer"])],
    ]
    note = (
        f"{options.steps} steps of {BATCH} SST-2 sentences, the same for all, float32, fused AdamW, no clipping, step by step "
        "in turn."
    )
    write_report("speed", "Speed at the same work", "overhead.py", options, table, note)


def report_own_defaults(options: argparse.Namespace) -> None:
    """Time what each does by default, and write experiments/results/speed_defaults.md."""
    seconds: dict[str, list[float]] = {"ftlit": [], "Trainer": []}
    right: dict[str, list[list[bool]]] = {"ftlit": [], "Trainer": []}
    for seed in range(options.seeds):
        taken, reached = own_defaults(options.data, options.rows, options.epochs, seed)
        for name in seconds:
            seconds[name] += taken[name]
            right[name].append(reached[name])
    arms = {name: accuracy(seeds) for name, seeds in right.items()}
    (difference,) = compare(arms, [("ftlit", "Trainer")])
    table = [
        [f"ftlit ({default_precision()}) / Trainer", ratio(seconds["ftlit"], seconds["Trainer"])],
        ["test accuracy of ftlit", listed(arms["ftlit"].scores)],
        ["test accuracy of Trainer", listed(arms["Trainer"].scores)],
        ["the former less the latter, interval of 95%", interval(difference)],
    ]
    note = (
        f"{options.rows} rows, {options.epochs} epochs, {options.seeds} seed(s), in turn after every {BATCH} examples: ftlit "
        f"groups texts by length in batches of 32, Trainer takes batches of 8 in random order."
    )
    write_report("speed_defaults", "Speed with own defaults", "overhead.py", options, table, note)


def accuracy(right: list[list[bool]]) -> Evidence:
    """The accuracy of several seeds, by example."""
    sums = mean_of(right)
    return Evidence(sums.counts, sums.score)


def listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def interval(difference: Comparison) -> str:
    """A difference with its interval over seeds and examples."""
    return f"{difference.difference:.3f} ({difference.low:.3f} to {difference.high:.3f})"


if __name__ == "__main__":
    main()
