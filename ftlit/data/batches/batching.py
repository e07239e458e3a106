"""Which examples make a batch, in which order.

An optimizer step takes one *step batch*, cut into micro-batches for the devices and the accumulation. What a step batch
holds depends on the seed, the epoch and its size alone, not on how it is cut: 32 examples on one device, 2 x 16 on two,
and 8 accumulated four times make the same steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from ftlit.errors import UserError
from ftlit.util.batch import FILLER


@dataclass(frozen=True)
class MicroBatch:
    """Examples that go through the model together.

    Args:
        indices: Positions of the examples in the split.
        loss_denominator: What the sum of their losses is divided by, so that the gradients of all micro-batches of a step
            average to the mean over the step batch; `FILLER` for one that repeats examples at no weight.
        epoch: The epoch of training, None in an evaluation: what is drawn anew in each epoch depends on it.
    """

    indices: list[int]
    loss_denominator: float
    epoch: int | None = None


class Batching(ABC):
    """How a split is cut into batches."""

    @abstractmethod
    def steps(self, lengths: np.ndarray, parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
        """An epoch of training: for each optimizer step its micro-batches, `parts` or fewer.

        Args:
            lengths: Tokens of each example, ``(examples,)``.
            parts: Devices times accumulated batches.
            rng: Seeded by run and epoch.
        """

    @abstractmethod
    def size(self, lengths: np.ndarray) -> list[int]:
        """Sizes of the batches in which a split, sorted by length, is evaluated."""


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"data.batching.{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class Shuffled(Batching):
    """Random batches of a fixed number of examples.

    Args:
        batch_size: Examples of each batch on each device.
    """

    batch_size: int = 32

    def __post_init__(self) -> None:
        _check_positive("batch_size", self.batch_size)

    def order(self, lengths: np.ndarray, step: int, rng: np.random.Generator) -> list[np.ndarray]:
        """The step batches of an epoch, each of `step` examples but for the last."""
        return _cut(rng.permutation(len(lengths)), step)

    def steps(self, lengths: np.ndarray, parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
        batches = self.order(lengths, self.batch_size * parts, rng)
        return [[part.tolist() for part in self.split(batch, lengths, parts)] for batch in batches]

    def split(self, batch: np.ndarray, lengths: np.ndarray, parts: int) -> list[np.ndarray]:
        """The micro-batches of a step batch: equal in number of examples, the short texts together."""
        if parts == 1:
            return [batch]
        batch = batch[np.argsort(lengths[batch], kind="stable")]
        return np.array_split(batch, min(parts, len(batch)))

    def size(self, lengths: np.ndarray) -> list[int]:
        return [len(part) for part in _cut(lengths, self.batch_size)]


@dataclass(frozen=True)
class LengthGrouped(Shuffled):
    """Batches of texts of similar length, so that little of a batch is padding; the batches come in random order.

    Args:
        batch_size: Examples of each batch on each device.
        pool: Step batches whose examples are sorted together; a larger pool has less padding and less chance.
    """

    pool: int = 50

    def order(self, lengths: np.ndarray, step: int, rng: np.random.Generator) -> list[np.ndarray]:
        pools = _cut(rng.permutation(len(lengths)), step * self.pool)
        batches = [b for pool in pools for b in _cut(pool[np.argsort(lengths[pool], kind="stable")], step)]
        return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(frozen=True)
class TokenBudget(Batching):
    """Batches of texts of similar length, as many as fit into a number of tokens, padding included.

    Rows of several texts count as one length each: the choices of multiple choice together, source and target of
    sequence-to-sequence together. The padding between unlike rows of the same length may take such batches over the number.

    Args:
        max_tokens: Longest text times number of texts, at most, of each batch on each device.
    """

    max_tokens: int = 4096

    def __post_init__(self) -> None:
        _check_positive("max_tokens", self.max_tokens)

    def steps(self, lengths: np.ndarray, parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
        # Sorted over the whole epoch, with chance only among equals, so that every epoch has as many batches.
        ranked = np.lexsort([rng.random(len(lengths)), lengths])
        bounds = np.cumsum(self.size(lengths[ranked]))[:-1]
        micro = [part.tolist() for part in np.split(ranked, bounds)]
        micro = [micro[i] for i in rng.permutation(len(micro))]
        return [micro[i : i + parts] for i in range(0, len(micro), parts)]

    def size(self, lengths: np.ndarray) -> list[int]:
        if len(lengths) and lengths.max() > self.max_tokens:
            raise UserError(
                f"data.batching.max_tokens is {self.max_tokens}, but the longest text has {lengths.max()} tokens; "
                "raise it or lower data.max_length"
            )
        sizes, count, longest = [], 0, 0
        for length in lengths.tolist():
            longest = max(longest, length)
            if count and longest * (count + 1) > self.max_tokens:
                sizes.append(count)
                count, longest = 0, length
            count += 1
        return [*sizes, count]


class TrainBatches(Sampler[MicroBatch]):
    """This rank's micro-batches of an epoch; every rank gives out the same number.

    Args:
        batching: How the split is cut.
        lengths: Tokens of each example, ``(examples,)``.
        seed: Seed of the order; with the epoch it alone decides.
        epoch: Gives the present epoch.
        rank: This device.
        world: Number of devices.
        accumulate: Batches accumulated for an optimizer step.
        loss_weights: What each example counts in the mean of the loss, ``(examples,)``: 1, or its number of labelled tokens.
    """

    def __init__(
        self,
        batching: Batching,
        lengths: np.ndarray,
        seed: int,
        epoch: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        loss_weights: np.ndarray | None = None,
    ) -> None:
        self.loss_weights = np.ones(len(lengths)) if loss_weights is None else loss_weights
        self.batching, self.lengths, self.seed, self.epoch = batching, lengths, seed, epoch
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.done = (0, 0)  # an epoch and how many of its batches were given out before an interruption
        self._plan: tuple[int, list[MicroBatch]] | None = None

    def plan(self) -> list[MicroBatch]:
        """The micro-batches of the present epoch."""
        epoch = self.epoch()
        if self._plan is None or self._plan[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            parts = self.world * self.accumulate
            steps = self.batching.steps(self.lengths, parts, rng)
            self._plan = (epoch, [batch for step in steps for batch in self._share(step, parts, epoch)])
        return self._plan[1]

    def _share(self, step: list[list[int]], parts: int, epoch: int) -> Iterator[MicroBatch]:
        loss_denominator = sum(float(self.loss_weights[part].sum()) for part in step) / parts
        for i in range(self.rank, parts, self.world):
            yield MicroBatch(step[i], loss_denominator, epoch) if i < len(step) else MicroBatch(step[0], FILLER, epoch)

    @property
    def skip(self) -> int:
        """Batches of the present epoch that were given out before an interruption."""
        epoch, given = self.done
        return given if epoch == self.epoch() else 0

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(self.plan()[self.skip :])  # with workers, a loader asks for this twice an epoch

    def __len__(self) -> int:
        return len(self.plan())


class EvaluationBatches(Sampler[MicroBatch]):
    """This rank's share of a split, each example exactly once over all ranks.

    Batches are cut first and dealt out then, so that what a batch holds, and thus every bit of its logits, does not
    depend on the number of ranks. A rank short of a batch repeats one as filler: collectives inside the model match.
    """

    def __init__(self, batching: Batching, lengths: np.ndarray, rank: int = 0, world: int = 1) -> None:
        ranked = np.argsort(lengths, kind="stable")
        bounds = np.cumsum(batching.size(lengths[ranked]))[:-1]
        batches = [part.tolist() for part in np.split(ranked, bounds)]
        self.batches = [MicroBatch(indices, 1.0) for indices in batches[rank::world]]
        if len(self.batches) * world < len(batches):
            self.batches.append(MicroBatch(batches[0], FILLER))

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class ResumableLoader(DataLoader[Any]):
    """A loader of `TrainBatches` that goes on inside an epoch: its state is the epoch and the number of batches given out."""

    given = 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.batch_sampler.epoch(), "given": self.given}  # type: ignore[union-attr]

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.done = (state["epoch"], state["given"])  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.given = self.batch_sampler.skip  # type: ignore[union-attr]
        for batch in super().__iter__():
            self.given += 1
            yield batch


class Examples(torch.utils.data.Dataset[Any]):
    """Encoded rows that are fetched a micro-batch at a time, as columns."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, batch: MicroBatch) -> tuple[dict[str, list[Any]], MicroBatch]:
        return self.rows[batch.indices], batch


def _cut(items: np.ndarray, size: int) -> list[np.ndarray]:
    return [items[i : i + size] for i in range(0, len(items), size)]
