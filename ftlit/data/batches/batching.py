"""Which examples form a batch, and in which order.

An optimizer step uses one *step batch*, which is cut into micro-batches for the devices and for gradient accumulation. The
contents of a step batch depend on the seed, the epoch and its size only, not on the way it is cut: 32 examples on one
device, 2 x 16 on two devices and 4 accumulated batches of 8 result in the same steps.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch.utils.data import Sampler

from ftlit.errors import UserError
from ftlit.util.arguments.checked import CheckedArguments
from ftlit.util.batch import FILLER


@dataclass(frozen=True)
class MicroBatch:
    """Examples that go through the model together.

    Args:
        indices: Positions of the examples in the split.
        loss_denominator: Divisor of the sum of their losses, chosen so that the gradients of all micro-batches of a step
            average to the mean over the step batch; `FILLER` for a batch that repeats examples with zero weight.
        epoch: Epoch of training, on which random draws depend; None in evaluation.
    """

    indices: list[int]
    loss_denominator: float
    epoch: int | None = None


class Batching(metaclass=CheckedArguments):
    """A way to cut a split into batches."""

    config_key: ClassVar[str] = "data.batching"

    @abstractmethod
    def steps(self, lengths: np.ndarray, parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
        """The micro-batches of each optimizer step of an epoch, at most `parts` a step.

        Args:
            lengths: Number of tokens of each example, ``(examples,)``.
            parts: Number of devices times number of accumulated batches.
            rng: Random generator, seeded by the run and the epoch.
        """

    @abstractmethod
    def eval_batch_sizes(self, lengths: np.ndarray) -> list[int]:
        """Sizes of the batches into which a split is cut for evaluation.

        Args:
            lengths: Number of tokens of each example, in ascending order.
        """


@dataclass(frozen=True)
class Shuffled(Batching):
    """Random batches with a fixed number of examples.

    Args:
        batch_size: Number of examples in a batch on each device.
    """

    batch_size: int = 32

    def order(self, lengths: np.ndarray, step: int, rng: np.random.Generator) -> list[np.ndarray]:
        """The step batches of an epoch, each with `step` examples except the last."""
        return _cut(rng.permutation(len(lengths)), step)

    def steps(self, lengths: np.ndarray, parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
        batches = self.order(lengths, self.batch_size * parts, rng)
        return [[part.tolist() for part in self.split(batch, lengths, parts)] for batch in batches]

    def split(self, batch: np.ndarray, lengths: np.ndarray, parts: int) -> list[np.ndarray]:
        """The micro-batches of a step batch: equal numbers of examples, grouped by length."""
        if parts == 1:
            return [batch]
        batch = batch[np.argsort(lengths[batch], kind="stable")]
        return np.array_split(batch, min(parts, len(batch)))

    def eval_batch_sizes(self, lengths: np.ndarray) -> list[int]:
        return [len(part) for part in _cut(lengths, self.batch_size)]


@dataclass(frozen=True)
class LengthGrouped(Shuffled):
    """Batches of texts of similar length, which need little padding; the order of the batches is random.

    Args:
        batch_size: Number of examples in a batch on each device.
        pool: Number of step batches whose examples are sorted together; a larger pool means less padding and less randomness.
    """

    pool: int = 50

    def order(self, lengths: np.ndarray, step: int, rng: np.random.Generator) -> list[np.ndarray]:
        pools = _cut(rng.permutation(len(lengths)), step * self.pool)
        batches = [b for pool in pools for b in _cut(pool[np.argsort(lengths[pool], kind="stable")], step)]
        return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(frozen=True)
class TokenBudget(Batching):
    """Batches of texts of similar length with a limited number of tokens, padding included.

    A row with several texts counts with its total length: all choices of a multiple-choice row, or source and target of a
    sequence-to-sequence row. Padding between unlike rows of the same length may take such a batch above the limit.

    Args:
        max_tokens: Limit of the longest text times the number of texts in a batch on each device.
    """

    max_tokens: int = 4096

    def steps(self, lengths: np.ndarray, parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
        # Sorted over the whole epoch, with random order among equal lengths only, so that all epochs have as many batches.
        ranked = np.lexsort([rng.random(len(lengths)), lengths])
        bounds = np.cumsum(self.eval_batch_sizes(lengths[ranked]))[:-1]
        micro = [part.tolist() for part in np.split(ranked, bounds)]
        micro = [micro[i] for i in rng.permutation(len(micro))]
        return [micro[i : i + parts] for i in range(0, len(micro), parts)]

    def eval_batch_sizes(self, lengths: np.ndarray) -> list[int]:
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
    """This rank's micro-batches of an epoch; all ranks yield the same number.

    Args:
        batching: The way the split is cut.
        lengths: Number of tokens of each example, ``(examples,)``.
        seed: Seed of the order, together with the epoch.
        epoch: Returns the current epoch.
        rank: Index of this device.
        world: Number of devices.
        accumulate: Number of batches accumulated for an optimizer step.
        loss_weights: Weight of each example in the mean loss, ``(examples,)``: 1, or its number of labelled tokens.
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
        self.resume_at = (0, 0)  # an epoch, and the number of its batches that were yielded before an interruption
        self._plan: tuple[int, list[MicroBatch]] | None = None

    def plan(self) -> list[MicroBatch]:
        """The micro-batches of the current epoch."""
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
    def num_to_skip(self) -> int:
        """Number of batches of the current epoch that were yielded before an interruption."""
        epoch, num_yielded = self.resume_at
        return num_yielded if epoch == self.epoch() else 0

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(self.plan()[self.num_to_skip :])  # with workers, a loader asks for this twice an epoch

    def __len__(self) -> int:
        return len(self.plan())


class EvaluationBatches(Sampler[MicroBatch]):
    """This rank's share of a split; over all ranks each example comes exactly once.

    Batches are cut first and dealt to the ranks afterwards, so that the contents of a batch, and with them every bit of its
    logits, do not depend on the number of ranks. A rank with one batch less repeats a batch as filler, because collective
    operations inside the model need every rank.
    """

    def __init__(self, batching: Batching, lengths: np.ndarray, rank: int = 0, world: int = 1) -> None:
        ranked = np.argsort(lengths, kind="stable")
        bounds = np.cumsum(batching.eval_batch_sizes(lengths[ranked]))[:-1]
        batches = [part.tolist() for part in np.split(ranked, bounds)]
        self.batches = [MicroBatch(indices, 1.0) for indices in batches[rank::world]]
        if len(self.batches) * world < len(batches):
            self.batches.append(MicroBatch(batches[0], FILLER))

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _cut(items: np.ndarray, size: int) -> list[np.ndarray]:
    return [items[i : i + size] for i in range(0, len(items), size)]
