"""Products in float32 that are rounded give what products of bfloat16 give."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

from ftlit.commands.cli import TaskCLI
from ftlit.training.bfloat16 import RoundedProducts, UpcastMixedPrecision, takes_upcast
from tests.helpers import arguments

ULP = 2**-7  # from one value of bfloat16 to the next


def small_integers(*shape: int) -> torch.Tensor:
    """Values of which products and sums are exact in both ways."""
    return torch.randint(-4, 5, shape).float().requires_grad_()


@pytest.mark.parametrize(
    ("product", "shapes"),
    [
        (functional.linear, [(3, 5, 8), (6, 8), (6,)]),
        (torch.matmul, [(2, 5, 8), (2, 8, 3)]),
        (lambda a, b: a @ b, [(5, 8), (8, 3)]),
        (torch.bmm, [(2, 5, 8), (2, 8, 3)]),
        (torch.addmm, [(3,), (5, 8), (8, 3)]),
        (torch.baddbmm, [(2, 5, 3), (2, 5, 8), (2, 8, 3)]),
        (lambda a, b: torch.einsum("bij,bjk->bik", a, b), [(2, 5, 8), (2, 8, 3)]),
    ],
    ids=["linear", "matmul", "@", "bmm", "addmm", "baddbmm", "einsum"],
)
def test_products_and_gradients_are_pytorch_s_own(product: Callable[..., torch.Tensor], shapes: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    inputs = [small_integers(*shape) for shape in shapes]
    found = []
    for way in (nullcontext(), RoundedProducts()):
        with torch.autocast("cpu", torch.bfloat16), way:
            result = product(*inputs)
        gradients = torch.autograd.grad(result, inputs, torch.ones_like(result))
        found.append([result, *gradients])
    for own, rounded in zip(*found, strict=True):
        assert own.dtype == rounded.dtype
        assert torch.equal(own, rounded)


def test_a_model_gives_what_it_gives_in_pytorch_s_own_way(tiny: Callable[[str], str]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny("bert"), dtype=torch.float32).eval()
    batch = {"input_ids": torch.arange(5, 25).view(2, 10), "attention_mask": torch.ones(2, 10, dtype=torch.long)}
    batch["attention_mask"][1, 6:] = 0
    found: list[Any] = []
    for precision in (MixedPrecision("bf16-mixed", "cpu"), UpcastMixedPrecision()):
        with precision.forward_context():
            logits = model(**batch).logits
        model.zero_grad()
        functional.cross_entropy(logits.float(), torch.tensor([0, 1])).backward()
        found.append((logits, torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])))
    (own, own_gradient), (rounded, gradient) = found
    assert rounded.dtype == own.dtype == torch.bfloat16
    assert (own - rounded).abs().max() <= 2 * ULP * own.abs().max()
    assert (own_gradient - gradient).norm() < 3 * ULP * own_gradient.norm()


def test_nothing_is_rounded_outside_of_autocast() -> None:
    a, b = torch.randn(4, 8), torch.randn(8, 4)
    with RoundedProducts():
        assert torch.equal(a @ b, torch.mm(a, b))
        assert (a @ b).dtype == torch.float32


def test_only_processors_need_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftlit.training.bfloat16.native_bfloat16", lambda device: False)
    assert takes_upcast("bf16-mixed", torch.device("cpu"))
    assert not takes_upcast("bf16-true", torch.device("cpu"))
    assert not takes_upcast("bf16-mixed", torch.device("cuda"))  # where PyTorch's own way is fast enough


@pytest.mark.parametrize("native", [True, False])
def test_fit_takes_the_way_that_is_fast_here(
    native: bool, tiny: Callable[[str], str], sentiment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("ftlit.training.bfloat16.native_bfloat16", lambda device: native)
    data = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "data__limit_train": 16}
    options = {"run_dir": tmp_path, "trainer__precision": "bf16-mixed", "trainer__max_steps": 2, **data}
    monkeypatch.setattr("sys.argv", ["ftlit"])
    cli = TaskCLI(arguments("fit", "TextClassification", "TextClassificationData", **options))
    assert cli.trainer.precision == "bf16-mixed"
    assert isinstance(cli.trainer.precision_plugin, UpcastMixedPrecision) != native
