"""Penalties that hold weights near their start: closed forms, which weights count, and the gradient of adapters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.optimization.keep import EWC, L2SP, Anchors, Pull, trained_weights
from ftlit.tuning import BitFit, Frozen, LoRA
from ftlit.tuning.base import always_train, set_known_rows
from tests.support.small import classifier, ragged_batch

Tiny = Callable[[str], str]


class Two(nn.Module):
    """A weight with an earlier value, one whose first row has one, a new one, and one that does not train."""

    def __init__(self) -> None:
        super().__init__()
        values = ([[1.0, -2.0]], [[3.0, 1.0], [0.5, 4.0]], [2.0, 5.0], [7.0])
        self.old, self.mixed, self.new, self.frozen = (nn.Parameter(torch.tensor(value)) for value in values)
        for weight in (self.mixed, self.new):
            always_train(weight)
        set_known_rows(self.mixed, torch.tensor([True, False]))
        self.frozen.requires_grad_(False)


def no_importance(*args: Any) -> dict[str, Tensor]:
    raise AssertionError("not needed")


def value(anchors: Anchors, model: nn.Module) -> float:
    return anchors.penalty(model).item()


def test_l2sp_is_the_closed_form() -> None:
    model = Two()
    anchors = Anchors(L2SP(alpha=0.4, beta=0.2).pulls(trained_weights(model), no_importance))
    at_start = 0.2 / 2 * (0.5**2 + 4.0**2 + 2.0**2 + 5.0**2)  # of new values alone
    assert value(anchors, model) == pytest.approx(at_start)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    moved = 0.4 / 2 * 4 + 0.2 / 2 * (1.5**2 + 5.0**2 + 3.0**2 + 6.0**2)  # two and two values have moved by 1
    assert value(anchors, model) == pytest.approx(moved)
    anchors.penalty(model).backward()
    assert model.old.grad is not None
    torch.testing.assert_close(model.old.grad, torch.full((1, 2), 0.4))
    torch.testing.assert_close(model.mixed.grad, torch.tensor([[0.4, 0.4], [0.2 * 1.5, 0.2 * 5.0]]))
    torch.testing.assert_close(model.new.grad, torch.tensor([0.2 * 3.0, 0.2 * 6.0]))
    assert model.frozen.grad is None


def test_ewc_weighs_each_value_and_leaves_new_ones_free() -> None:
    model, asked = Two(), list[Any]()

    def importance(weights: Any, run: str | None, rows: int) -> dict[str, Tensor]:
        asked.append((sorted(weights), run, rows))
        return {name: torch.full_like(weight, 3.0) for name, weight in weights.items()}

    anchors = Anchors(EWC(strength=10, rows=7, run="runs/x").pulls(trained_weights(model), importance))
    assert asked == [(["mixed", "old"], "runs/x", 7)]
    assert value(anchors, model) == 0
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    assert value(anchors, model) == pytest.approx(10 * 3 / 2 * 4)  # two values of `old`, two of `mixed`


def test_anchors_come_back_from_a_checkpoint() -> None:
    model = Two()
    anchors = Anchors(L2SP().pulls(trained_weights(model), no_importance))
    again = Anchors(anchors.state())  # type: ignore[arg-type]
    with torch.no_grad():
        model.old *= 2
    assert torch.equal(again.penalty(model), anchors.penalty(model))
    assert isinstance(next(iter(again.pulls.values())), Pull)


@pytest.mark.parametrize("tuning", [None, LoRA(r=2), BitFit(), Frozen()], ids=str)
def test_only_trained_weights_count_with_any_method(tuning: Any, tiny: Tiny) -> None:
    task = classifier(tiny("bert"), keep=L2SP(alpha=1.0, beta=0.5), **({"tuning": tuning} if tuning else {}))
    weights = trained_weights(task.model)
    task.anchors = Anchors(task.keep.pulls(weights, no_importance))  # type: ignore[union-attr]
    inside = {id(weight) for weight in task.backbone.parameters()}
    head, others = ([w for w in weights.values() if (id(w) in inside) == part] for part in (False, True))
    expected = 0.5 / 2 * sum(float((weight**2).sum()) for weight in head)
    assert value(task.anchors, task.model) == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        for weight in task.model.parameters():
            weight += 0.01
    expected = sum(0.01**2 / 2 * weight.numel() for weight in others) + 0.5 / 2 * sum(float((w**2).sum()) for w in head)
    assert value(task.anchors, task.model) == pytest.approx(expected, rel=1e-3)


def test_the_gradient_of_an_adapter_is_that_of_the_loss_and_the_penalty(tiny: Tiny) -> None:
    batch = ragged_batch()
    plain, kept = (classifier(tiny("bert"), tuning=LoRA(r=2), keep=keep) for keep in (None, L2SP(alpha=0.3)))
    kept.anchors = Anchors(kept.keep.pulls(trained_weights(kept.model), no_importance))  # type: ignore[union-attr]
    for task in (plain, kept):
        task.eval()
        with torch.no_grad():
            for name, weight in task.model.named_parameters():
                if "lora_" in name:
                    weight += 0.1
    plain.training_step(batch, 0).backward()
    kept.training_step(batch, 0)["loss"].backward()
    weights = dict(kept.model.named_parameters())
    names = [name for name in weights if "lora_" in name]
    assert names
    for name in names:
        expected = plain.model.get_parameter(name).grad + 0.3 * 0.1
        torch.testing.assert_close(weights[name].grad, expected, atol=1e-5, rtol=1e-4)


def test_the_parts_of_the_loss_add_up(tiny: Tiny) -> None:
    batch = ragged_batch()
    plain, kept = (classifier(tiny("bert"), keep=keep).eval() for keep in (None, L2SP()))
    kept.anchors = Anchors(kept.keep.pulls(trained_weights(kept.model), no_importance))  # type: ignore[union-attr]
    parts = kept.training_step(batch, 0)
    assert set(parts) == {"loss", "task_loss", "keep_loss"}
    assert torch.equal(parts["task_loss"], plain.training_step(batch, 0))
    torch.testing.assert_close(parts["loss"], parts["task_loss"] + parts["keep_loss"])


def test_what_is_wrong_is_said(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"model\.keep\.alpha must be at least 0, got -1"):
        L2SP(alpha=-1)
    with pytest.raises(UserError, match=r"model\.keep\.rows must be at least 1, got 0"):
        EWC(rows=0)
    task = classifier(tiny("bert"), keep=L2SP())
    with pytest.raises(UserError, match=r"model\.keep needs the weights that training begins with: train with ftlit\.fit"):
        task.training_step(ragged_batch(), 0)
