"""Counts of weights."""

from types import SimpleNamespace

import torch
from torch import nn

from ftlit.training.parameters import parameter_counts, parts_text


def test_weights_of_four_bits_are_counted_as_weights() -> None:
    model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(4, 2, bias=False))
    packed = nn.Parameter(torch.zeros(16, 1, dtype=torch.uint8), requires_grad=False)  # two weights a byte
    packed.quant_state = SimpleNamespace(shape=torch.Size([4, 8]))  # type: ignore[attr-defined]  # as bitsandbytes keeps it
    model[0].weight = packed
    assert parameter_counts(model) == {"total": 40, "trained": 8, "trained_share": 0.2}
    assert parts_text(model).splitlines()[-1].split() == ["all", "40", "8", "20.00%"]
