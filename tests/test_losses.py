"""Losses against torch and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from ftlit.errors import UserError
from ftlit.losses import BCE, MSE, CrossEntropy, Focal, Huber, Loss


def examples(labels: int = 3, count: int = 17) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, labels) * 3, torch.randint(labels, (count,))


def several(labels: int = 3, count: int = 17) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, labels) * 3, torch.randint(2, (count, labels))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torch_s(smoothing: float) -> None:
    logits, labels = examples()
    expected = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(smoothing)(logits, labels).mean(), expected)


def test_class_weights_multiply_each_example_and_do_not_divide() -> None:
    logits, labels = examples()
    weights = torch.tensor([0.5, 1.0, 3.0])
    expected = functional.cross_entropy(logits, labels, weight=weights, reduction="none")
    torch.testing.assert_close(CrossEntropy()(logits, labels, weights), expected)
    torch.testing.assert_close(Focal(gamma=0)(logits, labels, weights), expected)


def test_focal_without_gamma_is_cross_entropy() -> None:
    logits, labels = examples()
    torch.testing.assert_close(Focal(gamma=0)(logits, labels), functional.cross_entropy(logits, labels, reduction="none"))


def test_focal_scales_each_example_by_what_is_wrong_of_it() -> None:
    logits, labels = examples()
    right = functional.softmax(logits, -1)[torch.arange(len(labels)), labels]
    expected = (1 - right) ** 2 * functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(Focal(gamma=2)(logits, labels), expected)


def test_focal_has_a_gradient_where_the_model_is_certain() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    Focal(gamma=0.5)(logits, torch.tensor([0, 0])).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_bce_averages_over_labels_and_weighs_positives() -> None:
    logits, labels = several()
    weights = torch.tensor([0.5, 1.0, 3.0])
    for given in (None, weights):
        expected = functional.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=given)
        found = BCE()(logits, labels, given)
        assert found.shape == (17,)
        torch.testing.assert_close(found.mean(), expected)


def test_balanced_weights_are_scikit_learn_s() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [2] * 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    for loss in (CrossEntropy(class_weights="balanced"), Focal(class_weights="balanced")):
        assert loss.weights([50, 10, 3], 63).tolist() == pytest.approx(expected)


def test_balanced_bce_weighs_positives_by_negatives_over_positives() -> None:
    assert BCE(class_weights="balanced").weights([30, 10], 60).tolist() == [1.0, 5.0]


@pytest.mark.parametrize("loss", [CrossEntropy(class_weights="balanced"), BCE(class_weights="balanced")])
def test_balanced_weights_of_a_label_without_rows_are_finite(loss: Loss) -> None:
    weights = loss.weights([5, 0], 5)
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()


def test_given_class_weights_are_kept_and_counted() -> None:
    assert CrossEntropy().weights([1, 2], 3) is None
    assert CrossEntropy(class_weights=[1.0, 2.5]).weights([7, 8], 15).tolist() == [1.0, 2.5]
    with pytest.raises(UserError, match=r"class_weights has 3 numbers, but the data have 2 labels"):
        CrossEntropy(class_weights=[1.0, 2.0, 3.0]).weights([7, 8], 15)


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (MSE(), lambda x, y: functional.mse_loss(x, y, reduction="none")),
        (Huber(), lambda x, y: functional.smooth_l1_loss(x, y, reduction="none")),
        (Huber(delta=0.3), lambda x, y: functional.huber_loss(x, y, delta=0.3, reduction="none")),
    ],
)
def test_regression_losses_are_torch_s(loss: Loss, reference: object) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(17, 1) * 2, torch.randn(17)
    found = loss(logits, labels)
    assert found.shape == (17,)
    torch.testing.assert_close(found, reference(logits.squeeze(1), labels))  # type: ignore[operator]


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1), Focal(), BCE(), MSE(), Huber()])
def test_each_loss_is_in_float32_whatever_the_logits(loss: Loss) -> None:
    labels = several()[1] if isinstance(loss, BCE) else examples()[1]
    logits = examples()[0].bfloat16()
    if isinstance(loss, (MSE, Huber)):
        logits, labels = logits[:, :1], labels.float()
    assert loss(logits, labels).dtype == torch.float32


def test_the_loss_of_an_example_does_not_depend_on_its_batch() -> None:
    weights = torch.tensor([0.5, 1.0, 3.0])
    for loss, (logits, labels) in ((CrossEntropy(0.1), examples()), (Focal(), examples()), (BCE(), several())):
        alone = torch.cat([loss(logits[i : i + 1], labels[i : i + 1], weights) for i in range(len(labels))])
        torch.testing.assert_close(loss(logits, labels, weights), alone)
