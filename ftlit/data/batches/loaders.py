"""Loaders of encoded splits, which fetch a micro-batch at a time and can resume inside an epoch."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from ftlit.data.batches.batching import MicroBatch, TrainBatches

if TYPE_CHECKING:
    from ftlit.data.shared.base import TaskData


class Examples(Dataset[Any]):
    """Encoded rows that are fetched a micro-batch at a time, as columns."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, batch: MicroBatch) -> tuple[dict[str, list[Any]], MicroBatch]:
        return self.rows[batch.indices], batch


class ResumableLoader(DataLoader[Any]):
    """A loader over `TrainBatches` whose state is the epoch and the number of batches yielded in it."""

    num_yielded: int | None = None  # until the first batch after a start or resumption

    def state_dict(self) -> dict[str, int]:
        batches: Any = self.batch_sampler
        num_yielded = batches.num_to_skip if self.num_yielded is None else self.num_yielded
        return {"epoch": batches.epoch(), "num_yielded": num_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.num_yielded = None
        self.batch_sampler.resume_at = (state["epoch"], state["num_yielded"])  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        before = self.batch_sampler.num_to_skip  # type: ignore[union-attr]
        for self.num_yielded, batch in enumerate(super().__iter__(), before + 1):
            yield batch


def train_batches(data: "TaskData", trainer: Any) -> TrainBatches:
    """The micro-batches of train on the trainer's rank, in the order of its current epoch."""
    return TrainBatches(
        data.batching,
        data.lengths("train"),
        data.order_seed,
        lambda: trainer.current_epoch,
        trainer.global_rank,
        trainer.world_size,
        trainer.accumulate_grad_batches,
        data.loss_weights("train"),
    )


def make_loader(data: "TaskData", split: str, batches: Any) -> DataLoader[Any]:
    """A loader of an encoded split; that of train can resume inside an epoch.

    Args:
        data: The data module.
        split: Name of the split.
        batches: The micro-batches to load, in order.
    """
    train = split == "train"
    kind: type[DataLoader[Any]] = ResumableLoader if train else DataLoader
    return kind(
        Examples(data.encoded[split]),
        batch_sampler=batches,
        collate_fn=partial(_collated, data, split),  # gets what `Examples` fetches, not a list
        num_workers=data.num_workers,
        persistent_workers=data.num_workers > 0 and not train,
        generator=torch.Generator().manual_seed(data.order_seed),  # leaves the global random state unchanged
    )


def _collated(data: "TaskData", split: str, fetched: Any) -> dict[str, Any]:
    return {**data._collate(fetched), "split": split}
