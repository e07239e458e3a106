"""Ten optimizer steps against a bare PyTorch loop and transformers' Trainer: same weights, order and losses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from tests.support.parity import DECAY, RATE, SIZE, STEPS, Case, check_losses, check_weight, loop, run
from tests.support.small import without_dropout

ARCHITECTURES = ("bert", "llama")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def case(
    request: pytest.FixtureRequest, tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    folder = without_dropout(tiny(request.param), tmp_path_factory.mktemp("parity") / "model")
    return run(folder, sentiment)


def check(case: Case, losses: list[float], model: nn.Module) -> None:
    """The peer's losses, and its weights in the end, are those of the run."""
    check_losses(case, losses)
    for name, value in model.state_dict().items():
        check_weight(name, value, case.end[name])


def test_a_bare_loop_has_the_same_losses(case: Case) -> None:
    model = case.model()
    check(case, loop(model, case), model)


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
