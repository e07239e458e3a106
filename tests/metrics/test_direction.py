"""The direction of a metric comes from its class or its task; what nothing says is refused, never guessed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from torchmetrics import MeanMetric, MetricCollection, regression
from torchmetrics.classification import BinaryAccuracy, BinaryHammingDistance
from torchmetrics.text import WordErrorRate

from ftlit.errors import UserError
from ftlit.metrics.direction import HIGHER_IS_BETTER, bounds, higher_is_better, lower_is_better
from ftlit.tasks import TextClassification
from ftlit.tasks.shared.evaluator import check_callbacks, metric_directions

Tiny = Callable[[str], str]


def test_a_metric_that_no_table_lists_tells_its_direction() -> None:
    metrics = MetricCollection({"distance": BinaryHammingDistance(), "accuracy": BinaryAccuracy()})
    assert lower_is_better("val/distance", metrics)
    assert not lower_is_better("val/accuracy", metrics)
    assert lower_is_better("val/wer", {"wer": WordErrorRate()})


def test_the_declaration_has_priority_over_the_class_and_the_class_over_the_name() -> None:
    assert not lower_is_better("val/mae", MetricCollection({"mae": BinaryAccuracy()}))
    assert lower_is_better("val/mae", MetricCollection({"mae": BinaryAccuracy()}), {"mae": False})


@pytest.mark.parametrize("metric", ["val/wer", "distance"])
def test_an_unknown_direction_is_refused(metric: str) -> None:
    for metrics in (None, {"wer": MeanMetric(), "distance": regression.PearsonCorrCoef()}):
        assert higher_is_better(metric, metrics) is None
        with pytest.raises(UserError, match="may be better when higher or when lower"):
            lower_is_better(metric, metrics)
    assert lower_is_better(metric, declared={metric.removeprefix("val/"): False})


def test_names_of_this_package() -> None:
    for name in ("loss", "mse", "rmse", "mae", "perplexity", "bits_per_byte", "bits_per_byte_of_text"):
        assert lower_is_better(name)
        assert lower_is_better(f"test/{name}")
    for name in ("pearson", "bleu", "f1", "rougeLsum", "pattern_match", "nsp_accuracy"):
        assert not lower_is_better(f"val/{name}")


class WithErrors(TextClassification):
    """Text classification with the metrics of a user, of which one class does not tell its direction."""

    def build_metrics(self) -> MetricCollection:
        metrics = super().build_metrics()
        metrics.add_metrics({"errors": MeanMetric(), "hamming": BinaryHammingDistance()})
        return metrics


class Declared(WithErrors):
    higher_is_better = {"errors": False}  # noqa: RUF012


def build(task: type, tiny: Tiny, monitor: str) -> Any:
    return task(label_names=["a", "b"], backbone=tiny("bert"), pad_token_id=0, monitor=monitor)


def test_a_task_of_the_user_declares_what_its_metrics_do_not_tell(tiny: Tiny) -> None:
    assert build(WithErrors, tiny, "val/hamming").mode == "min"
    with pytest.raises(
        UserError, match=r"model\.monitor 'val/errors' may be better .* set `higher_is_better = \{'errors': True\}`"
    ):
        build(WithErrors, tiny, "val/errors")
    task = build(Declared, tiny, "val/errors")
    assert task.mode == "min"
    known = metric_directions(task)
    assert (known["errors"], known["hamming"], known["accuracy"], known["loss"]) == (False, False, True, False)
    assert set(known) == set(task.metric_names)
    assert "errors" not in metric_directions(build(WithErrors, tiny, "val/accuracy"))


def test_a_callback_that_waits_for_worse_values_is_refused(tiny: Tiny) -> None:
    task = build(Declared, tiny, "val/accuracy")
    for monitor, mode in (("val/errors", "min"), ("val/accuracy", "max"), ("val/loss", "min"), ("train/anything", "min")):
        check_callbacks([EarlyStopping(monitor, mode=mode), ModelCheckpoint(monitor=monitor, mode=mode), Timer()], task)
    said = r"EarlyStopping monitors 'val/accuracy' with mode 'min', but its higher values are better; set its mode to max"
    with pytest.raises(UserError, match=said):
        check_callbacks([EarlyStopping("val/accuracy")], task)
    with pytest.raises(UserError, match="but its lower values are better"):
        check_callbacks([ModelCheckpoint(monitor="val/errors", mode="max")], task)


def test_every_name_in_the_table_agrees_with_the_class_of_the_metric(tiny: Tiny) -> None:
    metrics = build(TextClassification, tiny, "val/accuracy").evaluators["val"].metrics
    assert all(HIGHER_IS_BETTER[name] == metric.higher_is_better for name, metric in metrics.items())


NAMES = ["accuracy", "test/f1_macro", "exact_match_answerable", "rougeLsum", "pattern_match", "nsp_accuracy"]


@pytest.mark.parametrize("name", NAMES)
def test_shares_lie_between_nil_and_one(name: str) -> None:
    assert bounds(name) == (0, 1)
    assert bounds("val/mcc") == (-1, 1)
    assert bounds("perplexity_of_text") == bounds("bleu") == (-math.inf, math.inf)
