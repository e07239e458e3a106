"""The direction of a metric comes from the metric itself, and from a table only where it does not say."""

import pytest
from torchmetrics import MetricCollection, regression
from torchmetrics.classification import BinaryAccuracy, BinaryHammingDistance

from ftlit.metrics.direction import LOWER_IS_BETTER, lower_is_better
from ftlit.metrics.weighted_mean import WeightedMean

OWN = {
    "loss": WeightedMean(),
    "mse": regression.MeanSquaredError(),
    "rmse": regression.MeanSquaredError(squared=False),
    "mae": regression.MeanAbsoluteError(),
}


def test_a_metric_that_no_table_lists_tells_its_direction() -> None:
    metrics = MetricCollection({"distance": BinaryHammingDistance(), "accuracy": BinaryAccuracy()})
    assert lower_is_better("val/distance", metrics)
    assert not lower_is_better("val/accuracy", metrics)


def test_the_metric_has_priority_over_the_table() -> None:
    assert not lower_is_better("val/mae", MetricCollection({"mae": BinaryAccuracy()}))


@pytest.mark.parametrize("name", [*OWN, "perplexity", "bits_per_byte"])
def test_the_table_agrees_with_the_metrics(name: str) -> None:
    assert lower_is_better(name)
    assert lower_is_better(f"test/{name}", OWN)
    assert set(OWN) < set(LOWER_IS_BETTER)


def test_metrics_that_do_not_tell_are_better_when_higher() -> None:
    assert not lower_is_better("val/pearson", {"pearson": regression.PearsonCorrCoef()})
    assert not lower_is_better("val/bleu")
