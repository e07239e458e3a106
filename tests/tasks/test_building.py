"""When a task's model is built: once, after the whole `__init__`."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ftlit.errors import UserError
from ftlit.tasks import TextClassification
from tests.support.small import classifier

Tiny = Callable[[str], str]


class ThreeLabels(TextClassification):
    """Sets what its model depends on after `super().__init__()`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_names = ["bad", "good", "neither"]


def test_attributes_set_last_decide_about_the_model(tiny: Tiny) -> None:
    assert ThreeLabels(backbone=tiny("bert"), pad_token_id=0).model.classifier.out_features == 3


def test_the_model_is_built_once(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    task = classifier(tiny("bert"))
    model, evaluators = task.model, task.evaluators
    monkeypatch.setattr(TextClassification, "build", lambda task: pytest.fail("the model was built again"))
    task.configure_model()
    assert (task.model, task.evaluators) == (model, evaluators)


def test_new_weights_follow_the_seed_alone(tiny: Tiny) -> None:
    torch.manual_seed(3)
    one = classifier(tiny("bert")).model.classifier.weight
    torch.manual_seed(3)
    other = classifier(tiny("bert")).model.classifier.weight
    assert torch.equal(one, other)


def test_a_refusal_comes_with_the_call(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"model\.monitor 'val/accurcy' is not a metric of this task"):
        classifier(tiny("bert"), monitor="val/accurcy")


def test_the_signature_is_that_of_init() -> None:
    assert list(inspect.signature(TextClassification).parameters) == ["multi_label", "kwargs"]


def test_metrics_are_not_part_of_the_state(tiny: Tiny) -> None:
    assert {key.split(".")[0] for key in classifier(tiny("bert")).state_dict()} == {"model"}
