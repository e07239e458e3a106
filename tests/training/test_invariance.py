"""The loss and the gradient of a step do not depend on how its batch is cut: at once, accumulated, or over devices."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor

from ftlit.data import TextClassificationData
from ftlit.data.batches.batching import LengthGrouped, Shuffled
from ftlit.losses import CrossEntropy
from ftlit.tasks import TextClassification
from tests.support.small import QUIET, without_dropout
from tests.support.speeds import some_by_default

# One epoch in steps of 32: 83 rows leave 19 for the last step, and 66 leave 2, fewer than there are parts.
CASES = {
    "ragged": (Shuffled, 83, None),
    "ragged weighted": (Shuffled, 83, CrossEntropy(class_weights="balanced")),
    "short weighted": (Shuffled, 66, CrossEntropy(class_weights=[0.2, 3.0])),
    "grouped short": (LengthGrouped, 66, None),
}
LAYOUTS = [(1, 16, 2), (1, 8, 4), (2, 16, 1), (2, 8, 2)]  # devices, examples of each, accumulated
Steps = list[tuple[float, dict[str, Tensor]]]


class Recorder(Callback):
    """Writes the loss and the gradient of every step, over all devices, to a file: devices are processes of their own."""

    def __init__(self, path: Path) -> None:
        self.path, self.steps, self.losses = path, [], []  # type: ignore[var-annotated]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(trainer.strategy.reduce(outputs["loss"].detach().clone(), reduce_op="mean"))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.steps.append({name: weight.grad.clone() for name, weight in pl_module.named_parameters()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            losses = torch.stack(self.losses).view(len(self.steps), -1).sum(1)
            torch.save((losses, self.steps, trainer.world_size), self.path)


def epoch(folder: str, dataset: str, case: str, layout: tuple[int, int, int], path: Path) -> Steps:
    """Loss and gradient of each step of an epoch."""
    kind, rows, loss = CASES[case]
    devices, size, accumulate = layout
    data = TextClassificationData(dataset=dataset, backbone=folder, batching=kind(size), limit_train=rows, order_seed=3)
    torch.manual_seed(0)
    module = TextClassification(
        **data.task_arguments(),
        backbone=folder,
        loss=loss,
        schedule="constant",
        warmup_ratio=0.0,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.01),
    )
    module.model.classifier.weight.data *= 10  # fresh, it says the same of every text
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        accumulate_grad_batches=accumulate,
        use_distributed_sampler=False,
        max_epochs=1,
        callbacks=[Recorder(path)],
        **QUIET,
    )
    trainer.fit(module, datamodule=data)
    losses, gradients, world = torch.load(path)
    assert world == devices
    return list(zip(losses.tolist(), gradients, strict=True))


@pytest.fixture(scope="module")
def steps(
    tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, tuple[int, int, int]], Steps]:
    """The steps of an epoch of a case, cut in a way."""
    root = tmp_path_factory.mktemp("invariance")
    folder = without_dropout(tiny("bert"), root / "model")
    return cache(lambda case, layout: epoch(folder, sentiment, case, layout, root / "steps.pt"))


@pytest.mark.parametrize(("devices", "examples", "accumulated"), some_by_default(LAYOUTS, chosen=(1, 3)))
@pytest.mark.parametrize("case", CASES)
def test_a_step_does_not_depend_on_how_it_is_cut(case: str, devices: int, examples: int, accumulated: int, steps: Any) -> None:
    expected, found = steps(case, (1, 32, 1)), steps(case, (devices, examples, accumulated))
    assert len(found) == len(expected) == 3
    for (loss, gradient), (same_loss, same_gradient) in zip(found, expected, strict=True):
        assert loss == pytest.approx(same_loss, abs=1e-6)
        assert gradient.keys() == same_gradient.keys()
        scale = max(float(value.abs().max()) for value in gradient.values())
        gaps = {name: float((value - same_gradient[name]).abs().max()) for name, value in gradient.items()}
        assert max(gaps.values()) < 1e-6 * max(scale, 1.0), max(gaps, key=gaps.__getitem__)
        assert scale > 0.05, "gradients that would pass if they were lost"


def test_the_steps_are_unlike_each_other(steps: Any) -> None:
    """So that the comparison above notices another order, another divisor, or weights that are left out."""
    losses = [loss for case in CASES for loss, _ in steps(case, (1, 32, 1))]
    gaps = torch.tensor(losses)[:, None] - torch.tensor(losses)
    assert gaps[~torch.eye(len(losses), dtype=torch.bool)].abs().min() > 1e-4
