"""Every metric next to its reference, on some of the cases of experiments/results/metrics.md."""

import pytest

from tests.support.references import COMPARISONS, Comparison, largest_difference

FEW, ALL = range(16), range(16, 200)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda one: one.metric.split(":")[0] + ", " + one.reference)
def test_metrics_are_those_of_their_references(comparison: Comparison) -> None:
    assert largest_difference(comparison, FEW) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda one: one.metric.split(":")[0] + ", " + one.reference)
def test_metrics_are_those_of_their_references_in_all_cases(comparison: Comparison) -> None:
    assert largest_difference(comparison, ALL) <= 1e-6
