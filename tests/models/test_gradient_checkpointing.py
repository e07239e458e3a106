"""Gradient checkpointing changes memory and time, and nothing that is learned."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ftlit.tuning import PrefixTuning
from tests.support.small import classifier
from tests.support.tuning.life import texts
from tests.support.tuning.methods import GAPS, METHODS, sampled

Tiny = Callable[[str], str]
ARCHITECTURES = ("bert", "llama", "t5")
PAIRS = [(method, name) for method in METHODS for name in ARCHITECTURES if (method, name) not in GAPS]
DEFAULT = {("LoRA", "bert"), ("PrefixTuning", "llama"), ("PromptTuning", "t5"), ("BitFit", "bert")}


def learned(folder: str, method: str, **options: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of three steps with dropout, and the gradients of the last one."""
    module = classifier(folder, tuning=METHODS[method].tuning, **options)
    optimizer = torch.optim.SGD([w for w in module.parameters() if w.requires_grad], lr=0.01)  # Adam magnifies rounding
    torch.manual_seed(1)
    losses = []
    for seed in range(3):
        optimizer.zero_grad()
        loss = module.training_step(texts(seed), seed)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: w.grad for name, w in module.named_parameters() if w.grad is not None}


@pytest.mark.parametrize(("method", "architecture"), sampled(PAIRS, 10**9, lambda *pair: pair in DEFAULT))
def test_losses_and_gradients_stay_the_same(method: str, architecture: str, tiny: Tiny, tiny_seq2seq: Tiny) -> None:
    folder = tiny_seq2seq(architecture) if architecture == "t5" else tiny(architecture)
    plain, expected = learned(folder, method)
    losses, found = learned(folder, method, gradient_checkpointing=True)
    torch.testing.assert_close(losses, plain, atol=1e-6, rtol=0)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_layers_keep_their_inputs_only(architecture: str, tiny: Tiny) -> None:
    def kept(**options: Any) -> int:
        """Numbers that a training step keeps for its backward pass, without the weights."""
        module, sizes = classifier(tiny(architecture), **options), dict[int, int]()
        own = {weight.data_ptr() for weight in module.parameters()}

        def keep(value: torch.Tensor) -> torch.Tensor:
            if value.data_ptr() not in own:
                sizes[value.data_ptr()] = value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            module.training_step(texts(), 0)
        return sum(sizes.values())

    assert kept(gradient_checkpointing=True) < 0.5 * kept()


def test_every_layer_is_computed_twice_in_training_and_once_in_evaluation(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=PrefixTuning(4), gradient_checkpointing=True)
    counts: dict[str, int] = {}
    for name, part in module.backbone.named_modules():
        if isinstance(part, nn.Linear) and name.endswith("query"):
            part.register_forward_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
    module.training_step(texts(), 0).backward()
    assert list(counts.values()) == [2, 2]
    module.eval()
    module(texts())
    assert list(counts.values()) == [3, 3]
