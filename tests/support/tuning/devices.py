"""A small run on one or more devices, which are processes of their own, with what each of them has in the end."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer

from ftlit.data import TextClassificationData
from ftlit.data.batches.batching import Shuffled
from ftlit.heads import TaskHead
from ftlit.tasks import TextClassification
from ftlit.tuning import Tuning
from tests.support.tuning.life import values


class Ranks(Callback):
    """Writes what each rank has in the end, to compare."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.begun = folder, dict[str, int]()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for name, weight in pl_module.named_parameters():
            if weight in trainer.optimizers[0].state:
                self.begun.setdefault(name, trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        found = {"weights": values(pl_module), "begun": self.begun, "world": trainer.world_size}
        torch.save(found, self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt")


def run(folder: str, dataset: str, tuning: Tuning, devices: int, out: Path) -> list[dict[str, Any]]:
    """What each rank has after two epochs of six steps of 16 examples."""
    data = TextClassificationData(dataset=dataset, backbone=folder, batching=Shuffled(16 // devices), order_seed=3)
    torch.manual_seed(0)
    given = {
        "schedule": "constant",
        "warmup_ratio": 0.0,
        "optimizer": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    }
    module = TextClassification(**data.task_arguments(), backbone=folder, tuning=tuning, head=TaskHead(), **given)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        use_distributed_sampler=False,
        max_epochs=2,
        callbacks=[Ranks(out)],
        gradient_clip_val=0.5,
        limit_val_batches=0,
        **quiet,
    )
    trainer.fit(module, datamodule=data)
    return [torch.load(out / f"{devices}-{rank}.pt") for rank in range(devices)]
