"""Dynamic masking: shares within five standard errors, whole words, and nothing touched that must not be."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ftlit.models.masking import expected_count, mask_tokens, word_count
from ftlit.util.batch import IGNORED

MASK, VOCAB = 3, 5000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(batch: int = 200, tokens: int = 300) -> tuple[Tensor, Tensor]:
    """Random ids above the special ones, and a mask that takes them all."""
    ids = torch.randint(10, VOCAB, (batch, tokens), generator=seeded(7))
    return ids, torch.ones_like(ids, dtype=torch.bool)


def masked(ids: Tensor, maskable: Tensor, seed: int = 0, **settings: Any) -> tuple[Tensor, Tensor]:
    return mask_tokens(ids, maskable, MASK, VOCAB, generator=seeded(seed), **settings)


def close(share: float, expected: float, count: int) -> bool:
    return abs(share - expected) < 5 * (expected * (1 - expected) / count) ** 0.5


@pytest.mark.parametrize(("probability", "replaced", "randomised"), [(0.15, 0.8, 0.1), (0.4, 0.5, 0.3), (1.0, 1.0, 0.0)])
def test_shares(probability: float, replaced: float, randomised: float) -> None:
    ids, maskable = texts()
    inputs, labels = masked(ids, maskable, probability=probability, replaced=replaced, randomised=randomised)
    chosen = labels != IGNORED
    count = int(chosen.sum())
    assert close(chosen.float().mean().item(), probability, ids.numel()) or probability == 1.0 == chosen.float().mean()
    shares = {
        "replaced": ((inputs == MASK) & chosen).sum().item() / count,
        "stays": ((inputs == ids) & chosen).sum().item() / count,
    }
    # A random token is the mask token or the original itself once in VOCAB times: far less than the bound.
    assert shares["replaced"] == replaced == 1.0 or close(shares["replaced"], replaced, count)
    stays = 1 - replaced - randomised
    assert shares["stays"] == stays == 0.0 or close(shares["stays"], stays, count)


def test_labels_are_the_originals_and_only_chosen_tokens_change() -> None:
    ids, maskable = texts()
    inputs, labels = masked(ids, maskable)
    chosen = labels != IGNORED
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(inputs[~chosen], ids[~chosen])


def test_what_is_not_maskable_is_untouched() -> None:
    ids, maskable = texts(50, 20)
    maskable = torch.rand(ids.shape, generator=seeded(1)) < 0.5
    maskable[:, 15:] = False  # padding
    inputs, labels = masked(ids, maskable, probability=0.9)
    assert torch.equal(inputs[~maskable], ids[~maskable])
    assert (labels[~maskable] == IGNORED).all()
    assert close((labels[maskable] != IGNORED).float().mean().item(), 0.9, int(maskable.sum()))


def test_given_tensors_stay() -> None:
    ids, maskable = texts(8, 20)
    words = torch.arange(20).repeat(8, 1) // 2
    given = [ids, maskable, words]
    copies = [tensor.clone() for tensor in given]
    masked(ids, maskable, words=words, probability=0.5, special_ids=[0, 1])
    assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))


@pytest.mark.parametrize("whole", [False, True])
def test_generator_decides(whole: bool) -> None:
    ids, maskable = texts(8, 50)
    words = torch.arange(50).repeat(8, 1) // 3 if whole else None
    first, again, other = (masked(ids, maskable, seed, words=words) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_global_generator_without_another() -> None:
    ids, maskable = texts(8, 50)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found += [mask_tokens(ids, maskable, MASK, VOCAB)[1] for _ in range(2)]
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])  # other tokens each time


def test_everything_is_made_on_the_device_of_the_inputs() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long, device="meta")
    for tensor in mask_tokens(ids, ids.bool(), MASK, VOCAB, words=ids, special_ids=[0]):
        assert tensor.device.type == "meta"
        assert (tensor.shape, tensor.dtype) == (ids.shape, ids.dtype)


def test_whole_words_stay_whole_and_each_token_has_its_own_fate() -> None:
    ids, maskable = texts(300, 100)
    words = torch.arange(100).repeat(300, 1) // 4
    inputs, labels = masked(ids, maskable, words=words)
    chosen = (labels != IGNORED).view(300, 25, 4)
    assert torch.equal(chosen.any(-1), chosen.all(-1))
    whole = chosen.all(-1)
    assert close(whole.float().mean().item(), 0.15, whole.numel())
    replaced = (inputs == MASK).view(300, 25, 4).all(-1)[whole].float().mean().item()
    assert close(replaced, 0.8**4, int(whole.sum()))


@pytest.mark.parametrize("lengths", [[1] * 7, [2, 2, 2], [1, 5, 1, 9], [3], [8, 1]])
@pytest.mark.parametrize("probability", [0.05, 0.15, 0.4])
def test_the_expected_count_is_what_is_drawn_on_average(lengths: list[int], probability: float) -> None:
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
    words = torch.tensor(numbers).repeat(40000, 1)
    ids = torch.full_like(words, 50)
    _, labels = masked(ids, torch.ones_like(words, dtype=torch.bool), words=words, probability=probability)
    drawn = (labels != IGNORED).sum(1).float().mean().item()
    counted = word_count([True] * len(numbers), numbers)
    assert counted == len(lengths)
    assert expected_count(np.array([len(numbers)]), np.array([counted]), probability)[0] == pytest.approx(drawn, rel=0.02)


def test_words_are_counted_that_have_a_maskable_token() -> None:
    assert word_count([False, True, True, True, False, True, False], [-1, 0, 0, 1, -1, 0, 1]) == 3
    assert word_count([False, False], [-1, 0]) == 0


def test_same_number_in_two_texts_is_two_words() -> None:
    words = torch.tensor([[0, 0, -1, 0, 0]]).repeat(2000, 1)
    ids = torch.full_like(words, 50)
    _, labels = masked(ids, words >= 0, words=words, probability=0.5)
    first, second = labels[:, 0] != IGNORED, labels[:, 4] != IGNORED
    assert torch.equal(first, labels[:, 1] != IGNORED)
    assert torch.equal(second, labels[:, 3] != IGNORED)
    assert 0.2 < (first & ~second).float().mean() < 0.4


def test_token_without_word_is_drawn_alone() -> None:
    words = torch.full((2000, 2), -1)
    _, labels = masked(torch.full_like(words, 50), torch.ones_like(words, dtype=torch.bool), words=words, probability=0.5)
    chosen = labels != IGNORED
    assert 0.2 < (chosen[:, 0] & ~chosen[:, 1]).float().mean() < 0.4


def test_word_with_a_token_that_is_not_maskable() -> None:
    words = torch.tensor([[0, 0, 0]])
    maskable = torch.tensor([[True, False, True]])
    _, labels = masked(torch.tensor([[50, 51, 52]]), maskable, words=words, probability=1.0)
    assert labels.tolist() == [[50, IGNORED, 52]]


def test_at_least_one_token_of_each_row_that_has_one() -> None:
    ids, maskable = texts(3000, 6)
    maskable[:, 4:] = False
    maskable[0] = False
    _, labels = masked(ids, maskable, probability=0.0)
    chosen = labels != IGNORED
    assert chosen.sum(1).tolist() == [0] + [1] * 2999
    for column in range(4):  # none is preferred
        assert close(chosen[1:, column].float().mean().item(), 0.25, 2999)


def test_at_least_one_word_and_that_whole() -> None:
    ids, maskable = texts(100, 6)
    words = torch.tensor([0, 0, 1, 1, 2, 2]).repeat(100, 1)
    _, labels = masked(ids, maskable, words=words, probability=0.0)
    chosen = (labels != IGNORED).view(100, 3, 2)
    assert (chosen.sum((1, 2)) == 2).all()
    assert (chosen.all(-1).sum(1) == 1).all()


@pytest.mark.parametrize(("special", "expected"), [([], range(12)), ([0, 1, 5, 11, 99], [2, 3, 4, 6, 7, 8, 9, 10])])
def test_random_tokens_come_from_the_vocabulary_without_special_ones(special: list[int], expected: list[int]) -> None:
    ids = torch.full((100, 200), 4)
    settings: dict[str, Any] = {"probability": 1.0, "replaced": 0.0, "randomised": 1.0, "special_ids": special}
    inputs, _ = mask_tokens(ids, ids > 0, MASK, 12, generator=seeded(), **settings)
    found, counts = inputs.unique(return_counts=True)
    assert found.tolist() == list(expected)
    for count in counts.tolist():
        assert close(count / ids.numel(), 1 / len(found), ids.numel())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probability": 1.5}, "probability must be in [0, 1], got 1.5"),
        ({"replaced": -0.1}, "replaced must be in [0, 1], got -0.1"),
        ({"replaced": 0.8, "randomised": 0.3}, "replaced and randomised must add up to at most 1, got 0.8 and 0.3"),
    ],
)
def test_shares_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        masked(*texts(1, 4), **settings)
