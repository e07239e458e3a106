"""The longest and the median batch of training and of evaluation, from which the whole run is estimated."""

from collections.abc import Iterator
from functools import cached_property
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import Sampler

from ftlit.data.batches.batching import MicroBatch, TrainBatches
from ftlit.data.batches.loaders import make_loader
from ftlit.data.shared.base import TaskData


class Steps:
    """The steps of an epoch, or the batches of an evaluation, and their sizes.

    Args:
        steps: The micro-batches of each step.
        lengths: Tokens of each example of the split, ``(examples,)``.
    """

    def __init__(self, steps: list[list[MicroBatch]], lengths: np.ndarray) -> None:
        padded = [[int(lengths[batch.indices].max()) * len(batch.indices) for batch in step] for step in steps]
        self.tokens = np.array([sum(step) for step in padded])
        longest = max(range(len(steps)), key=lambda i: (max(padded[i]), padded[i]))
        median = int(np.argsort(self.tokens, kind="stable")[(len(steps) - 1) // 2])
        self.chosen = {"longest": longest, "median": median}
        self.batches = {kind: steps[i] for kind, i in self.chosen.items()}
        self._kinds = {tuple(batch.indices): kind for kind, step in self.batches.items() for batch in step}

    def kind(self, features: list[int]) -> str:
        """Whether a batch with these examples belongs to the `longest` or the `median` step."""
        return self._kinds[tuple(features)]

    def seconds(self, known: dict[str, float], count: int) -> float:
        """Estimate the time of the first steps, linear in their numbers of tokens.

        Args:
            known: Seconds of the median and of the longest step.
            count: Number of steps. After the last one, the steps are repeated.
        """
        (x, y), (x_long, y_long) = ((self.tokens[i], known[kind]) for kind, i in reversed(self.chosen.items()))
        slope = max((y_long - y) / (x_long - x), 0.0) if x_long > x else 0.0
        each = np.interp(self.tokens, [0, x, max(x_long, x + 1)], [max(y - slope * x, 0.0), y, max(y_long, y)])
        whole, rest = divmod(count, len(each))
        return float(whole * each.sum() + each[:rest].sum())


class Alternating(Sampler[MicroBatch]):
    """Alternates between the longest and the median step, in epochs of the real length. The first step is a warm-up.

    Args:
        real: The sampler of the run.
        steps: The first epoch of the sampler.
    """

    num_to_skip = 0

    def __init__(self, real: TrainBatches, steps: Steps) -> None:
        self.epoch, self._length = real.epoch, len(real)
        long, median = steps.batches["longest"], steps.batches["median"]
        self._rest = chain(long, cycle([*median, *long]))

    def __iter__(self) -> Iterator[MicroBatch]:
        return islice(self._rest, self._length)

    def __len__(self) -> int:
        return self._length


class RehearsalData(LightningDataModule):
    """A data module that yields only a few batches of another data module.

    Args:
        data: The data of the run, after `setup`.
    """

    def __init__(self, data: TaskData) -> None:
        super().__init__()
        self.data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["data"], name)

    @cached_property
    def train_steps(self) -> Steps:
        """The first epoch of the run on this device."""
        real = self._real_train
        plan, size = real.plan(), real.accumulate
        return Steps([plan[i : i + size] for i in range(0, len(plan), size)], real.lengths)

    @cached_property
    def _real_train(self) -> TrainBatches:
        self.data.trainer = self.trainer
        return self.data.train_dataloader().batch_sampler  # type: ignore[return-value]

    def train_dataloader(self) -> Any:
        return make_loader(self.data, "train", Alternating(self._real_train, self.train_steps))

    def evaluation_steps(self, split: str) -> Steps:
        """The batches of a split on this device."""
        self.data.trainer = self.trainer
        sampler: Any = self.data.evaluation_dataloader(split).batch_sampler
        return Steps([[batch] for batch in sampler], self.data.lengths(split))

    def val_dataloader(self) -> Any:
        long, median = (self.evaluation_steps("validation").batches[kind] for kind in ("longest", "median"))
        return make_loader(self.data, "validation", [*long, *long, *median])
