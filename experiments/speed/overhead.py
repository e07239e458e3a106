"""Speed of ftlit beside a bare PyTorch loop and transformers' Trainer, in turn within one call.

    python experiments/speed/overhead.py --data data/sst2 --rounds 5

First the same work for all three: random batches of 32 in float32, equal tokens, fused AdamW, no clipping. Then ftlit and
Trainer with their own defaults, trained to the end, with the accuracy that each reaches. Ratios of examples a second are
taken within a round, so that a machine that changes its speed does not matter. Writes experiments/results/speed.md.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from shared import BATCH, bare, collated, data_of, equal_work, ftlit, in_turn, model, spread, write_report
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from ftlit.cli import default_precision
from ftlit.data.base import TaskData
from ftlit.quiet import quiet


class TrainerClock(TrainerCallback):
    """Seconds from the start of training to the end of the last step, for transformers' Trainer."""

    seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.perf_counter() - self.begun


def trainer(data: TaskData, folder: str, **settings: Any) -> tuple[float, Any]:
    """Seconds of transformers' Trainer, and the trained model."""
    clock, net = TrainerClock(), model()
    arguments = TrainingArguments(
        folder, use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no", disable_tqdm=True, **settings
    )
    train = data.encoded["train"].remove_columns("truncated")
    Trainer(net, arguments, train_dataset=train, data_collator=collated(data), callbacks=[clock]).train()  # type: ignore[arg-type]
    return clock.seconds, net


def same_work(folder: str, data: str, steps: int, rounds: int) -> list[dict[str, float]]:
    """Seconds of each in every round."""
    rows = data_of(data, steps * BATCH)
    peers: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare(rows, steps),
        "ftlit": lambda: ftlit(f"{folder}/ftlit", data, *equal_work(steps))[0],
        "Trainer": lambda: trainer(
            rows,
            f"{folder}/trainer",
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            optim="adamw_torch_fused",
            max_grad_norm=0.0,
            logging_steps=10,
        )[0],
    }
    return in_turn(peers, rounds)


def own_defaults(folder: str, data: str, rows: int, epochs: int, rounds: int) -> list[dict[str, float]]:
    """Seconds and test accuracy of ftlit and Trainer with their defaults, trained to the end."""
    encoded, found = data_of(data, rows), []
    for seed in range(rounds):
        settings = {"num_train_epochs": epochs, "seed": seed}
        seconds, net = trainer(encoded, f"{folder}/trainer", **settings)
        limits = [f"--data.limit_train={rows}", f"--trainer.max_epochs={epochs}", f"--seed_everything={seed}"]
        results = ftlit(f"{folder}/ftlit", data, "--test_after_fit=true", "--trainer.num_sanity_val_steps=0", *limits)[1]
        found.append(
            {
                "Trainer seconds": seconds,
                "ftlit seconds": results["efficiency"]["train_seconds"],  # it also validates, which Trainer does not
                "Trainer accuracy": accuracy(net, encoded),
                "ftlit accuracy": results["test"]["accuracy"],
            }
        )
        print(found[-1], flush=True)
    return found


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
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each turn of the first comparison")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2048, help="training rows of the second comparison")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--default_rounds", type=int, default=1)
    options = parser.parse_args()
    quiet()
    sys.argv = [sys.argv[0]]
    with tempfile.TemporaryDirectory() as folder:
        same = same_work(folder, options.data, options.steps, options.rounds)
        own = own_defaults(folder, options.data, options.rows, options.epochs, options.default_rounds)
    to_bare = [r["bare loop"] / r["ftlit"] for r in same]
    to_trainer = [r["Trainer"] / r["ftlit"] for r in same]
    defaults = [r["Trainer seconds"] / r["ftlit seconds"] for r in own]
    table = [
        ["same work: ftlit / bare loop", spread(to_bare)],
        ["same work: ftlit / Trainer", spread(to_trainer)],
        [f"own defaults (ftlit: {default_precision()}): ftlit / Trainer", spread(defaults)],
        ["own defaults: test accuracy of ftlit", spread([r["ftlit accuracy"] for r in own])],
        ["own defaults: test accuracy of Trainer", spread([r["Trainer accuracy"] for r in own])],
    ]
    note = (
        f"Same work: {options.steps} steps of {BATCH} SST-2 sentences in random order, float32, fused AdamW, "
        f"{options.rounds} rounds. Own defaults: {options.rows} rows, {options.epochs} epochs, {options.default_rounds} "
        "seed(s): ftlit groups texts by length in batches of 32, Trainer takes batches of 8 in random order."
    )
    write_report("speed", "Speed", "overhead.py", options, table, note)


if __name__ == "__main__":
    main()
