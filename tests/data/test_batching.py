"""Batches: each example once an epoch, the same steps however they are cut, little padding."""

from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest

from ftlit.data.batches.batching import (
    FILLER,
    Batching,
    EvaluationBatches,
    LengthGrouped,
    MicroBatch,
    Shuffled,
    TokenBudget,
    TrainBatches,
)
from ftlit.data.batches.loaders import ResumableLoader
from ftlit.errors import UserError

KINDS: dict[str, Callable[[int], Batching]] = {
    "shuffled": Shuffled,
    "grouped": LengthGrouped,
    "tokens": lambda batch_size: TokenBudget(60 * batch_size),
}
CUTS = [(1, 1), (2, 1), (3, 1), (1, 4), (2, 3)]


def ragged(count: int, seed: int = 0) -> np.ndarray:
    """Lengths of 3 to 59 tokens, most of them short."""
    return np.minimum(3 + np.random.default_rng(seed).geometric(0.1, count), 59)


def ranks(batching: Batching, lengths: np.ndarray, world: int, accumulate: int, **given: int) -> list[list[MicroBatch]]:
    """The epoch of each rank."""
    seed, epoch = given.get("seed", 0), given.get("epoch", 0)
    return [list(TrainBatches(batching, lengths, seed, lambda: epoch, rank, world, accumulate)) for rank in range(world)]


def real(batches: list[MicroBatch]) -> list[int]:
    """Examples that count, in their order."""
    return [i for batch in batches if batch.loss_denominator != FILLER for i in batch.indices]


def steps(plans: list[list[MicroBatch]], accumulate: int) -> list[list[MicroBatch]]:
    """The micro-batches of each optimizer step, over all ranks."""
    starts = range(0, len(plans[0]), accumulate)
    return [list(chain.from_iterable(plan[i : i + accumulate] for plan in plans)) for i in starts]


@pytest.mark.parametrize(("world", "accumulate"), CUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 7, 64, 100])
def test_each_example_once_an_epoch(kind: str, count: int, world: int, accumulate: int) -> None:
    for batch_size in (1, 3, 8):
        plans = ranks(KINDS[kind](batch_size), ragged(count), world, accumulate)
        assert sorted(chain.from_iterable(map(real, plans))) == list(range(count))
        assert len({len(plan) for plan in plans}) == 1
        assert len(plans[0]) % accumulate == 0  # every step is whole
        assert all(batch.indices for plan in plans for batch in plan)


@pytest.mark.parametrize(("world", "accumulate"), CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_average_to_the_mean_over_the_step(kind: str, world: int, accumulate: int) -> None:
    losses = np.random.default_rng(1).random(101)
    parts = world * accumulate
    for step in steps(ranks(KINDS[kind](4), ragged(101), world, accumulate), accumulate):
        assert len(step) == parts
        assert sum(len(b.indices) / b.loss_denominator for b in step) == pytest.approx(parts)
        mean = np.mean([losses[b.indices].sum() / b.loss_denominator for b in step])  # as devices and accumulation average
        assert mean == pytest.approx(losses[real(step)].mean())


@pytest.mark.parametrize("kind", [Shuffled, LengthGrouped])
@pytest.mark.parametrize(("size", "world", "accumulate"), [(16, 1, 2), (8, 1, 4), (16, 2, 1), (4, 2, 4), (8, 4, 1)])
def test_steps_do_not_depend_on_the_cut(kind: type[Shuffled], size: int, world: int, accumulate: int) -> None:
    lengths = ragged(333)
    whole = [set(batch.indices) for batch in ranks(kind(32), lengths, 1, 1)[0]]
    cut = steps(ranks(kind(size), lengths, world, accumulate), accumulate)
    assert [set(real(step)) for step in cut] == whole


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_epoch_alone_decide_the_order(kind: str) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.indices for batch in ranks(KINDS[kind](8), ragged(100), 1, 1, seed=seed, epoch=epoch)[0]]

    np.random.seed(1)
    first = order(0, 0)
    np.random.seed(2)
    assert order(0, 0) == first
    assert len({str(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6
    assert {len(order(0, epoch)) for epoch in range(9)} == {len(first)}


def test_one_sampler_gives_each_epoch_its_order() -> None:
    epoch = 0
    sampler = TrainBatches(Shuffled(8), ragged(50), 0, lambda: epoch)
    first = list(sampler)
    assert list(sampler) == first
    epoch = 1
    assert list(sampler) != first


@pytest.mark.parametrize("budget", [59, 64, 200, 1000])
def test_token_budget_is_kept(budget: int) -> None:
    lengths = ragged(300)
    train = ranks(TokenBudget(budget), lengths, 2, 2)
    for batch in [*chain.from_iterable(train), *EvaluationBatches(TokenBudget(budget), lengths)]:
        assert lengths[batch.indices].max() * len(batch.indices) <= budget


def test_token_budget_below_the_longest_text() -> None:
    with pytest.raises(UserError, match=r"data.batching.max_tokens is 10, but the longest text has 59 tokens; raise it"):
        list(TrainBatches(TokenBudget(10), np.array([3, 59]), 0))


@pytest.mark.parametrize(
    ("make", "key"), [(Shuffled, "batch_size"), (LengthGrouped, "batch_size"), (TokenBudget, "max_tokens")]
)
def test_sizes_are_positive(make: Callable[[int], Batching], key: str) -> None:
    with pytest.raises(UserError, match=f"data.batching.{key} must be at least 1, got 0"):
        make(0)


def padding(batches: list[MicroBatch], lengths: np.ndarray) -> float:
    """The share of a plan's positions that are padding."""
    held = sum(lengths[b.indices].max() * len(b.indices) for b in batches)
    return 1 - lengths.sum() / held


def test_grouping_by_length_pads_little() -> None:
    lengths = ragged(2000)
    shuffled, grouped = (padding(ranks(kind(16), lengths, 1, 1)[0], lengths) for kind in (Shuffled, LengthGrouped))
    assert shuffled > 0.5
    assert grouped < 0.1
    assert padding(ranks(Shuffled(16), lengths, 1, 4)[0], lengths) < shuffled - 0.1  # short texts of a step together


def test_grouped_batches_come_in_random_order() -> None:
    lengths = ragged(2000)
    longest = [lengths[b.indices].max() for b in ranks(LengthGrouped(16), lengths, 1, 1)[0]]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_sees_each_example_once(kind: str, world: int) -> None:
    for count in (1, 9, 37, 64):
        lengths = ragged(count)
        batching = KINDS[kind](8)
        plans = [list(EvaluationBatches(batching, lengths, rank, world)) for rank in range(world)]
        assert sorted(chain.from_iterable(map(real, plans))) == list(range(count))
        assert len({len(plan) for plan in plans}) == 1
        alone = {tuple(batch.indices) for batch in EvaluationBatches(batching, lengths)}
        assert {tuple(batch.indices) for plan in plans for batch in plan} == alone  # and so the same bits of logits


class Echo:
    """Gives back what it is asked for."""

    def __getitems__(self, batch: MicroBatch) -> MicroBatch:
        return batch


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_goes_on_where_it_was(workers: int) -> None:
    def loader(epoch: Callable[[], int]) -> ResumableLoader:
        batches = TrainBatches(Shuffled(4), ragged(30), 0, epoch)
        return ResumableLoader(Echo(), batch_sampler=batches, collate_fn=lambda batch: batch, num_workers=workers)

    whole = list(loader(lambda: 3))
    old, given = loader(lambda: 3), []
    for batch in old:
        given.append(batch)
        if len(given) == 5:
            break
    assert old.state_dict() == {"epoch": 3, "num_yielded": 5}
    present = 3
    new = loader(lambda: present)
    new.load_state_dict(old.state_dict())
    assert new.state_dict() == old.state_dict()  # also before the first batch
    rest = list(new)
    assert given + rest == whole
    assert new.state_dict() == {"epoch": 3, "num_yielded": 8}
    present = 4
    assert len(list(new)) == 8  # the next epoch is whole
    assert new.state_dict() == {"epoch": 4, "num_yielded": 8}


def test_state_of_an_ended_epoch_skips_nothing_of_the_next() -> None:
    sampler = TrainBatches(Shuffled(4), ragged(30), 0, lambda: 4)
    sampler.resume_at = (3, 8)
    assert len(list(sampler)) == 8
