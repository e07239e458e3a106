"""Intervals of the difference between two models on the same examples."""

from typing import Any

import numpy as np
import pytest

from ftlit.errors import UserError
from ftlit.metrics.evidence.paired import paired_interval


def rows(right: list[bool], **more: Any) -> list[dict[str, Any]]:
    return [{"id": str(i), "label": "a", "prediction": "a" if good else "b", **more} for i, good in enumerate(right)]


def test_what_both_have_in_common_cancels() -> None:
    """The interval is that of the mean of the differences, by its normal approximation."""
    rng = np.random.default_rng(0)
    one = rng.random(800) < 0.8
    other = np.where(rng.random(800) < 0.05, ~one, one)
    low, high = paired_interval("labels", "accuracy", rows(list(one)), rows(list(other)), {}) or (0, 0)
    differences = other.astype(float) - one
    half = 1.96 * differences.std() / np.sqrt(800)
    assert low == pytest.approx(differences.mean() - half, abs=0.003)
    assert high == pytest.approx(differences.mean() + half, abs=0.003)


def test_the_order_of_examples_does_not_matter() -> None:
    one, other = rows([True, False, True, True] * 20), rows([True, True, False, True] * 20)
    assert paired_interval("labels", "accuracy", one, other, {}) == paired_interval("labels", "accuracy", one, other[::-1], {})


def test_same_answers_may_still_differ_elsewhere() -> None:
    same = rows([True] * 50 + [False] * 50)
    low, high = paired_interval("labels", "accuracy", same, same, {}) or (0, 0)
    assert (low, high) == (pytest.approx(-0.0362, abs=1e-4), pytest.approx(0.0362, abs=1e-4))
    assert paired_interval("labels", "f1_macro", same, same, {}) is None


def test_documents_are_drawn_as_a_whole() -> None:
    one, other = ([True, False] * 50 + [True] * 100), [True] * 200
    apart = paired_interval("labels", "accuracy", rows(one), rows(other), {}) or (0, 0)
    grouped = (
        [{**row, "group": i // 50} for i, row in enumerate(rows(one))],
        [{**row, "group": i // 50} for i, row in enumerate(rows(other))],
    )
    together = paired_interval("labels", "accuracy", *grouped, {}) or (0, 0)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_what_predictions_do_not_tell() -> None:
    some = rows([True, False])
    assert paired_interval("labels", "loss", some, some, {}) is None
    assert paired_interval(None, "accuracy", some, some, {}) is None
    assert paired_interval("labels", "accuracy", [], [], {}) is None
    with pytest.raises(UserError, match="different data"):
        paired_interval("labels", "accuracy", some, rows([True]), {})
