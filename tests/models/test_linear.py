"""Products by oneDNN are those of PyTorch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ftlit.models.speed import linear as fast
from ftlit.models.speed.linear import FastLinear, linear, multiply_fast
from ftlit.training.flops import FlopCounter
from ftlit.tuning import LoRA
from ftlit.util.private import linear_by_onednn
from tests.support.small import classifier
from tests.support.tuning.life import texts

pytestmark = pytest.mark.skipif(linear_by_onednn() is None, reason="this PyTorch has no products by oneDNN")


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products go by oneDNN, too, on every processor."""
    monkeypatch.setattr(fast, "FEWEST", 0)
    monkeypatch.setattr(fast, "onednn_outruns_mkl", lambda: True)


def results(multiply: Callable[..., Tensor], size: tuple[int, ...], bias: bool, turned: bool) -> list[Tensor]:
    """The output, and the gradients of inputs, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(*size, 48), (32, 48), (32,)]
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes[: 3 if bias else 2]]
    inputs = given[0].transpose(0, -2) if turned else given[0]
    output = multiply(inputs, *given[1:])
    return [output, *torch.autograd.grad(output.square().sum(), given)]


@pytest.mark.parametrize("size", [(7,), (3, 5), (2, 3, 4), (1, 1), (3, 11, 2), (5, 67)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_outputs_and_gradients(size: tuple[int, ...], bias: bool, turned: bool) -> None:
    for found, expected in zip(
        results(linear, size, bias, turned), results(nn.functional.linear, size, bias, turned), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_it_can_be_differentiated_twice() -> None:
    def curvature(multiply: Callable[..., Tensor]) -> Tensor:
        weight = torch.linspace(-1, 1, 48 * 32).view(32, 48).requires_grad_()
        (first,) = torch.autograd.grad(multiply(torch.ones(2, 48), weight).pow(3).sum(), weight, create_graph=True)
        return torch.autograd.grad(first.square().sum(), weight)[0]

    torch.testing.assert_close(curvature(linear), curvature(nn.functional.linear), rtol=1e-4, atol=1e-2)


def test_only_float32_on_this_processor_goes_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.dtype] = []
    multiply = fast.multiply_by_onednn
    monkeypatch.setattr(fast, "multiply_by_onednn", lambda *given: taken.append(given[0].dtype) or multiply(*given))
    inputs, weight = torch.ones(2, 4), torch.ones(3, 4)
    assert linear(inputs, weight).eq(4).all()
    assert taken == [torch.float32]
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(inputs, weight).dtype == torch.bfloat16
    for kind in (torch.float64, torch.bfloat16):
        assert linear(inputs.to(kind), weight.to(kind)).dtype == kind
    assert linear(inputs.to("meta"), weight.to("meta")).shape == (2, 3)
    torch.jit.trace(linear, (inputs, weight), check_trace=False)
    rows = {0: torch.export.Dim("rows", max=4096)}
    torch.export.export(FastLinear(4, 3), (inputs,), dynamic_shapes={"input": rows})
    monkeypatch.setattr(fast, "FEWEST", 25)
    assert linear(inputs, weight).eq(4).all()
    assert taken == [torch.float32]


def test_few_numbers_of_rows_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN keeps memory for each."""
    multiplied: set[int] = set()
    monkeypatch.setattr(fast, "multiply_by_onednn", lambda rows, *_: multiplied.add(len(rows)) or rows)
    weight = torch.eye(2)
    for count in range(1, 1025):
        given = torch.ones(count, 2)
        assert linear(given, weight).shape == (count, 2)
        assert 0 <= fast.missing(count) <= count / 16
    assert len(multiplied) == 31 + 16 * 5 + 1  # all below 32, sixteen up to each power of two, and the last


def test_a_model_keeps_its_names_and_outputs(tiny: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny("bert")
    module = classifier(folder, dropout=0.0, tuning=LoRA(r=2, dropout=0.0))
    monkeypatch.setattr(fast, "onednn_outruns_mkl", lambda: False)
    plain = classifier(folder, dropout=0.0, tuning=LoRA(r=2, dropout=0.0))
    assert sum(type(part) is FastLinear for part in module.modules()) > 20
    assert not any(type(part) is FastLinear for part in plain.modules())
    assert module.state_dict().keys() == plain.state_dict().keys()
    module.load_state_dict(plain.state_dict())
    torch.testing.assert_close(module.logits(texts()), plain.logits(texts()), atol=1e-5, rtol=1e-4)


def test_operations_are_counted_as_ever() -> None:
    def counted(multiply: Callable[..., Tensor]) -> float:
        weight = torch.ones(32, 48).requires_grad_()
        with FlopCounter() as counter:
            multiply(torch.ones(2, 7, 48).requires_grad_(), weight).sum().backward()
        return counter.flops

    assert counted(linear) == counted(nn.functional.linear) == 3 * 2 * 14 * 32 * 48


def test_processors_on_which_nothing_would_be_gained_keep_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "onednn_outruns_mkl", lambda: False)
    model = nn.Sequential(nn.Linear(4, 4))
    multiply_fast(model)
    assert type(model[0]) is nn.Linear
