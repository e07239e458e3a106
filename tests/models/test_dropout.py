"""Masks of dropout have PyTorch's law, and come from PyTorch's generator."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ftlit.models.speed.dropout import FastDropout, draw_mask, draw_masks_fast, dropout
from tests.support.small import classifier

SHARES = [0.05, 0.1, 0.25, 0.5, 0.9]


@pytest.mark.parametrize("p", SHARES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elements_are_dropped_independently(p: float, dtype: torch.dtype) -> None:
    """The share of a million draws, and of every pair of neighbours: in a row, in a word of 64 bits, and in the next call."""
    torch.manual_seed(0)
    one, other = (draw_mask(torch.empty(1000, 1001, dtype=dtype), p).float() for _ in range(2))
    assert set(one.unique().tolist()) == {0.0, 1.0}
    keep, count = 1 - p, one.numel()
    assert abs(float(one.mean()) - keep) < 4 * (keep * p / count) ** 0.5 + 1e-5
    assert abs(float(one.mean(0).var()) / (keep * p / 1000) - 1) < 0.2
    flat = one.flatten() - keep
    pairs = [(flat[:-lag], flat[lag:]) for lag in (1, 2, 3, 4, 5, 8, 1001)] + [(flat, other.flatten() - keep)]
    for first, second in pairs:
        assert abs(float((first * second).mean())) < 4.5 * keep * p / count**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_scaled_so_that_their_expectation_stays(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 33, dtype=dtype, requires_grad=True)
    output = dropout(inputs, 0.1)
    kept = output != 0
    scale = 65536 / 58982  # 0.9 rounded to a multiple of 1/65536
    # A factor that were itself rounded to bfloat16 would be wrong by 0.16%, on average, too.
    rounding = {"atol": 0, "rtol": 2e-7 if dtype == torch.float32 else 0}
    torch.testing.assert_close(output, torch.where(kept, (inputs.double() * scale).to(dtype), 0), **rounding)
    output.backward(torch.full_like(output, 3))
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad, torch.where(kept, torch.tensor(3 * scale).to(dtype), 0), **rounding)


@pytest.mark.parametrize(("p", "share"), [(0.0, 0.0), (1e-9, 0.0), (1.0, 1.0), (1 - 1e-9, 1.0)])
def test_the_ends_of_the_range(p: float, share: float) -> None:
    assert float((dropout(torch.ones(100), p) == 0).float().mean()) == share


def test_the_state_of_pytorch_repeats_the_masks() -> None:
    inputs, state = torch.ones(50, 7), torch.get_rng_state()
    first, second = dropout(inputs, 0.5), dropout(inputs, 0.5)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout(inputs, 0.5), first)
    assert torch.equal(dropout(inputs, 0.5), second)


def test_the_number_of_threads_does_not_change_the_masks() -> None:
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(3)
            found.append(dropout(torch.ones(300, 401), 0.1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_a_layer_that_is_computed_again_draws_the_same_mask() -> None:
    layer, gradients = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.5)), []
    draw_masks_fast(layer)
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        inputs = torch.ones(5, 8, requires_grad=True)
        torch.manual_seed(0)
        run(inputs).sum().backward()
        gradients.append(inputs.grad)
    assert torch.equal(*gradients)  # type: ignore[arg-type]


def test_the_dropout_layers_of_a_task_keep_their_names_and_probabilities(tiny: Callable[[str], str]) -> None:
    module: Any = classifier(tiny("bert"), dropout=0.3)
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.Dropout)}
    assert layers
    assert all(type(part) is FastDropout and part.p == 0.3 for part in layers.values())
    part = next(iter(layers.values())).eval()
    assert part(inputs := torch.ones(4)) is inputs
