"""A run of ftlit of ten steps, and what a peer needs to repeat it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ftlit.data import TextClassificationData
from ftlit.data.batches.batching import Shuffled, TrainBatches
from ftlit.tasks import TextClassification
from ftlit.tuning import Full, Tuning
from tests.support.small import QUIET

STEPS, SIZE, RATE, DECAY, SEED = 10, 8, 1e-3, 0.1, 5


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.found.append(float(outputs["loss"]))


@dataclass
class Case:
    """A run of ftlit, and what a peer needs to repeat it.

    Args:
        folder: The pretrained model.
        start: The weights before training.
        losses: The loss of each step.
        end: The weights after training.
        trained: Names of the weights that trained.
        data: The data.
    """

    folder: str
    start: dict[str, torch.Tensor]
    losses: list[float]
    end: dict[str, torch.Tensor]
    trained: set[str]
    data: TextClassificationData

    def model(self, start: bool = True) -> Any:
        """The model before training, as transformers alone loads it; with the head of `start`, or another."""
        model = AutoModelForSequenceClassification.from_pretrained(
            self.folder, dtype=torch.float32, num_labels=2, pad_token_id=0
        )
        if start:
            model.load_state_dict(self.start)
        return model.train()

    def batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of the run, tokenized and padded by transformers alone."""
        tokenizer, rows = AutoTokenizer.from_pretrained(self.folder), self.data.rows["train"]
        order = TrainBatches(Shuffled(SIZE), self.data.lengths("train"), SEED)
        for batch in list(order)[:STEPS]:
            chosen = rows[batch.indices]
            labels = torch.tensor([["bad", "good"].index(name) for name in chosen["label"]])
            yield {**tokenizer(chosen["text"], padding=True, return_tensors="pt"), "labels": labels}


def run(folder: str, dataset: str, tuning: Tuning = Full(), rate: float = RATE) -> Case:
    """Ten steps of ftlit.

    Args:
        folder: A pretrained model without dropout.
        dataset: Sentiment rows.
        tuning: The tuning method.
        rate: The learning rate.
    """
    data = TextClassificationData(dataset=dataset, backbone=folder, batching=Shuffled(SIZE), order_seed=SEED)
    torch.manual_seed(0)
    module = TextClassification(
        **data.task_arguments(),
        backbone=folder,
        tuning=tuning,
        schedule="constant",
        warmup_ratio=0.0,
        optimizer=lambda params: torch.optim.AdamW(params, lr=rate, weight_decay=DECAY),
    )
    start, losses = copy.deepcopy(module.model.state_dict()), Losses()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        callbacks=[losses],
        **QUIET,
    )
    trainer.fit(module, datamodule=data)
    trained = {name for name, weight in module.model.named_parameters() if weight.requires_grad}
    return Case(folder, start, losses.found, module.model.state_dict(), trained, data)


def decaying(model: nn.Module) -> list[dict[str, Any]]:
    """Trained weights in two groups: matrices decay, biases and norms do not."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for n, p in trained if not (n.endswith("bias") or "norm" in n.lower() or p.ndim < 2)]
    rest = {id(p) for p in plain}
    return [
        {"params": plain, "weight_decay": DECAY},
        {"params": [p for _, p in trained if id(p) not in rest], "weight_decay": 0.0},
    ]


def loop(
    model: nn.Module,
    case: Case,
    loss_of: Callable[[dict[str, torch.Tensor]], torch.Tensor] | None = None,
    after_step: Callable[[int], None] = lambda step: None,
    rate: float = RATE,
) -> list[float]:
    """The losses of a bare PyTorch loop.

    Args:
        model: The peer's model.
        case: Whose batches it sees.
        loss_of: The loss of a batch; by default what the model says.
        after_step: Called after each optimizer step, while there are gradients.
        rate: The learning rate.
    """
    optimizer, losses = torch.optim.AdamW(decaying(model), lr=rate), []
    for step, batch in enumerate(case.batches()):
        loss = model(**batch).loss if loss_of is None else loss_of(batch)
        loss.backward()
        optimizer.step()
        after_step(step)
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


def check_losses(case: Case, losses: list[float]) -> None:
    """The peer's losses are those of the run."""
    assert len(case.losses) == STEPS
    assert case.losses[-1] != pytest.approx(case.losses[0], abs=1e-3), "nothing was learned, so nothing was compared"
    assert losses == pytest.approx(case.losses, abs=1e-5)


def check_weight(name: str, value: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    """A weight of the peer is that of the run."""
    # Adam divides by the gradient's size: where that is all rounding, as of a key's bias, steps differ up to the rate.
    if not name.endswith("key.bias"):
        torch.testing.assert_close(value, expected, atol=atol, rtol=0, msg=name)
