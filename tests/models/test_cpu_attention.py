"""Attention on CPUs computes what that of PyTorch computes."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ftlit.models.speed import cpu_attention
from ftlit.models.speed.cpu_attention import NAME, attention
from tests.support.small import classifier
from tests.support.tuning.life import texts

MASKS: dict[str, Any] = {
    "none": None,
    "seen": torch.ones(3, 1, 7, 7, dtype=torch.bool).tril() & (torch.arange(7) < torch.tensor([7, 5, 2])[:, None, None, None]),
    "added": torch.linspace(-3, 3, 4 * 49).view(1, 4, 7, 7),
}


def outputs(attend: Callable[..., Any], mask: Tensor | None, groups: int, **options: Any) -> list[Tensor]:
    """The output and the gradients of queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 7, 16), *[(3, 4 // groups, 7, 16)] * 2]
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    layer = SimpleNamespace(num_key_value_groups=groups, is_causal=options.pop("causal", False))
    output = attend(layer, *given, mask, **options)[0]
    output.square().sum().backward()
    return [output, *(value.grad for value in given if value.grad is not None)]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_plain_products_give_the_same_as_pytorch(mask: str, groups: int, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = outputs(sdpa_attention_forward, MASKS[mask], groups, causal=causal)
    monkeypatch.setattr(cpu_attention, "is_plainly_faster", lambda *_: True)
    found = outputs(attention, MASKS[mask], groups, causal=causal)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_dropout_leaves_the_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    expected = outputs(sdpa_attention_forward, MASKS["seen"], 1)[0]
    drawn = torch.stack([outputs(attention, MASKS["seen"], 1, dropout=0.2)[0] for _ in range(800)])
    assert not torch.equal(drawn[0], drawn[1])
    error = (drawn.mean(0) - expected).detach().abs() / (drawn.detach().std(0) / 800**0.5 + 1e-6)
    assert float(error.max()) < 5


def test_bfloat16_is_as_exact_as_that_of_pytorch(tiny: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(bfloat16: bool, plain: bool) -> dict[str, Tensor]:
        monkeypatch.setattr(cpu_attention, "is_plainly_faster", lambda *_: plain)
        module = classifier(tiny("bert"), dropout=0.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = module.training_step(texts(), 0)
        loss.backward()
        return {name: weight.grad.flatten() for name, weight in module.named_parameters() if weight.grad is not None}

    exact, own, theirs = gradients(False, False), gradients(True, True), gradients(True, False)
    assert exact.keys() == own.keys()

    def error(found: dict[str, Tensor]) -> float:
        return float(torch.cat([found[name] - exact[name] for name in exact]).norm() / torch.cat([*exact.values()]).norm())

    assert error(own) < 1.5 * error(theirs) < 0.1


def test_where_it_is_used() -> None:
    trained = torch.ones(1, 1, 4, 2, requires_grad=True)
    faster = cpu_attention.is_plainly_faster
    assert faster(trained, 0.1)
    assert not faster(trained, 0.0)  # PyTorch's is faster in float32
    assert not faster(trained.detach(), 0.1)
    assert not faster(torch.empty(1, 1, 4, 2, device="meta", requires_grad=True), 0.1)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2", "llama"])
def test_a_task_uses_it_without_a_trace_in_its_configuration(architecture: str, tiny: Callable[[str], str]) -> None:
    module: Any = classifier(tiny(architecture))
    assert module.model.config._attn_implementation == NAME
    assert NAME not in module.model.config.to_json_string()
