"""Ten optimizer steps against a bare PyTorch loop and transformers' Trainer: same weights, order and losses."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

from ftlit.data import TextClassificationData
from ftlit.data.batching import Shuffled, TrainBatches
from ftlit.tasks import TextClassification
from tests.small import without_dropout

STEPS, SIZE, RATE, DECAY, SEED = 10, 8, 1e-3, 0.1, 5
ARCHITECTURES = ("bert", "llama")


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.found.append(float(outputs["loss"]))


@dataclass
class Case:
    """A run of ftlit, and what a peer needs to repeat it."""

    folder: str
    start: dict[str, torch.Tensor]
    losses: list[float]
    end: dict[str, torch.Tensor]
    data: TextClassificationData

    def model(self) -> nn.Module:
        """The model before training, as transformers alone loads it."""
        model = AutoModelForSequenceClassification.from_pretrained(
            self.folder, dtype=torch.float32, num_labels=2, pad_token_id=0
        )
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


@pytest.fixture(scope="module", params=ARCHITECTURES)
def case(
    request: pytest.FixtureRequest, tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    folder = without_dropout(tiny(request.param), tmp_path_factory.mktemp("parity") / "model")
    data = TextClassificationData(dataset=sentiment, backbone=folder, batching=Shuffled(SIZE), order_seed=SEED)
    torch.manual_seed(0)
    module = TextClassification(
        label_names=data.label_names,
        backbone=folder,
        pad_token_id=0,
        schedule="constant",
        warmup=0.0,
        optimizer=lambda params: torch.optim.AdamW(params, lr=RATE, weight_decay=DECAY),
    )
    start, losses = copy.deepcopy(module.model.state_dict()), Losses()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        callbacks=[losses],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=data)
    return Case(folder, start, losses.found, module.model.state_dict(), data)


def decaying(model: nn.Module) -> list[dict[str, Any]]:
    """Weights in two groups: matrices decay, biases and norms do not."""
    plain = [p for n, p in model.named_parameters() if not (n.endswith("bias") or "norm" in n.lower())]
    rest = {id(p) for p in plain}
    return [
        {"params": plain, "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if id(p) not in rest], "weight_decay": 0.0},
    ]


def check(case: Case, losses: list[float], model: nn.Module) -> None:
    """The peer's losses, and its weights in the end, are those of the run."""
    assert len(case.losses) == STEPS
    assert case.losses[-1] != pytest.approx(case.losses[0], abs=1e-3), "nothing was learned, so nothing was compared"
    assert losses == pytest.approx(case.losses, abs=1e-5)
    for name, value in model.state_dict().items():
        # Adam divides by the gradient's size: where that is all rounding, as of a key's bias, steps differ up to the rate.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(value, case.end[name], atol=1e-5, rtol=0, msg=name)


def test_a_bare_loop_has_the_same_losses(case: Case) -> None:
    model, losses = case.model(), []
    optimizer = torch.optim.AdamW(decaying(model), lr=RATE)
    for batch in case.batches():
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    check(case, losses, model)


class Peer(transformers.Trainer):
    """transformers' Trainer over given batches."""

    batches: list[dict[str, torch.Tensor]]
    losses: list[float]

    def get_train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(float(loss))  # the log rounds to four digits
        return loss


def test_transformers_trainer_has_the_same_losses(case: Case, tmp_path: Path) -> None:
    settings = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        max_steps=STEPS,
        per_device_train_batch_size=SIZE,
        learning_rate=RATE,
        weight_decay=DECAY,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        optim="adamw_torch",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )
    peer = Peer(case.model(), settings)
    peer.batches, peer.losses = list(case.batches()), []
    peer.train()
    check(case, peer.losses, peer.model)
