"""Speed of ftlit beside a bare PyTorch loop and transformers' Trainer, in turn within one call.

    python experiments/speed/overhead.py --data data/sst2 --steps 100 --rows 1024 --seeds 2

First the same work for all three: the very same random batches of 32 in float32, fused AdamW, no clipping. Then ftlit and
Trainer with their own defaults, trained to the end, with the accuracy that each reaches; validations do not count. They take
turns after every 32 examples, so that a machine that changes its speed does not matter. Writes experiments/results/speed.md.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from shared import BATCH, Turn, Turns, bare, collated, data_of, equal_work, ftlit, model, ratio, write_report
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from ftlit.cli import default_precision
from ftlit.data.base import TaskData
from ftlit.quiet import quiet


class TrainerInTurn(TrainerCallback):
    """Takes turns as transformers' Trainer."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turn.begin()

    def on_step_end(self, arguments: TrainingArguments, *_: Any, **__: Any) -> None:
        self.turn.step(arguments.per_device_train_batch_size)


def trainer(turn: Turn, data: TaskData, **settings: Any) -> Any:
    """transformers' Trainer; gives the trained model."""
    net, train = model(), data.encoded["train"].remove_columns("truncated")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, **settings)
        Trainer(net, arguments, train_dataset=train, data_collator=collated(data), callbacks=[TrainerInTurn(turn)]).train()  # type: ignore[arg-type]
    return net


def same_work(data: str, steps: int) -> dict[str, list[float]]:
    """Seconds of each step of each."""
    rows = data_of(data, steps * BATCH)
    settings = {
        "per_device_train_batch_size": BATCH,
        "max_steps": steps,
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


def own_defaults(data: str, rows: int, epochs: int, seed: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds that ftlit and Trainer with their defaults take for every 32 examples, and the test accuracy that they reach."""
    encoded, turns = data_of(data, rows), Turns(["Trainer", "ftlit"])
    options = [f"--data.limit_train={rows}", f"--trainer.max_epochs={epochs}", f"--seed_everything={seed}"]
    found = turns.run(
        {
            "Trainer": lambda turn: trainer(turn, encoded, num_train_epochs=epochs, seed=seed),
            "ftlit": lambda turn: ftlit(turn, data, "--test_after_fit=true", "--patience=null", *options),
        }
    )
    return turns.seconds, {"Trainer": accuracy(found["Trainer"], encoded), "ftlit": found["ftlit"]["test"]["accuracy"]}


@torch.no_grad()
def accuracy(net: Any, data: TaskData) -> float:
    """Share of the test split that a model gets right."""
    right, pad = 0, collated(data)
    net.eval()
    for batch in DataLoader(data.encoded["test"], 64, collate_fn=pad):  # type: ignore[arg-type]
        labels = batch.pop("labels")
        right += int((net(**batch).logits.argmax(1) == labels).sum())
    return right / len(data.encoded["test"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of each in the first comparison")
    parser.add_argument("--rows", type=int, default=2048, help="training rows of the second comparison")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of the second comparison")
    options = parser.parse_args()
    quiet()
    sys.argv = [sys.argv[0]]
    same = same_work(options.data, options.steps)
    own: dict[str, list[float]] = {"ftlit": [], "Trainer": []}
    accuracies: dict[str, list[float]] = {"ftlit": [], "Trainer": []}
    for seed in range(options.seeds):
        seconds, reached = own_defaults(options.data, options.rows, options.epochs, seed)
        for name in own:
            own[name] += seconds[name]
            accuracies[name].append(reached[name])
    table = [
        ["same work: ftlit / bare loop", ratio(same["ftlit"], same["bare loop"])],
        ["same work: ftlit / Trainer", ratio(same["ftlit"], same["Trainer"])],
        [f"own defaults (ftlit: {default_precision()}): ftlit / Trainer", ratio(own["ftlit"], own["Trainer"])],
        ["own defaults: test accuracy of ftlit", listed(accuracies["ftlit"])],
        ["own defaults: test accuracy of Trainer", listed(accuracies["Trainer"])],
    ]
    note = (
        f"Same work: {options.steps} steps of {BATCH} SST-2 sentences, the same for all, float32, fused AdamW, step by step in "
        f"turn. Own defaults: {options.rows} rows, {options.epochs} epochs, {options.seeds} seed(s), in turn after every "
        f"{BATCH} examples: ftlit groups texts by length in batches of 32, Trainer takes batches of 8 in random order."
    )
    write_report("speed", "Speed", "overhead.py", options, table, note)


def listed(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
