"""Intervals of one run: inside the range of the metric, with the right coverage, over documents; and the baseline."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from ftlit.metrics.evidence.intervals import baseline_scores, documents, metric_intervals, weighted_sums

SCORES = dict.fromkeys("ab", 0.0)


def rows_of(right: list[bool], **more: list[Any]) -> list[dict[str, Any]]:
    """Rows whose labels are a and b in turn."""
    found = []
    for i, hit in enumerate(right):
        label, other = "ab"[i % 2], "ba"[i % 2]
        extra = {key: values[i] for key, values in more.items()}
        found.append({"id": f"test:{i}", "label": label, "prediction": label if hit else other, "scores": SCORES, **extra})
    return found


def interval(right: list[bool], **more: list[Any]) -> list[float]:
    """The interval of the accuracy."""
    return metric_intervals("labels", {"accuracy": float(np.mean(right))}, rows_of(right, **more), {})["accuracy"]


@pytest.mark.parametrize("wrong", [0, 1, 2, 9, 10])
def test_an_accuracy_stays_between_nil_and_one(wrong: int) -> None:
    low, high = interval([i >= wrong for i in range(10)])
    assert 0 <= low <= 1 - wrong / 10 <= high <= 1
    assert low < high


def test_all_right_and_all_wrong_are_not_certain() -> None:
    assert interval([True] * 40) == [pytest.approx(0.025 ** (1 / 40)), 1]
    assert interval([False] * 40) == [0, pytest.approx(1 - 0.025 ** (1 / 40))]
    perfect = metric_intervals("labels", {"accuracy": 1.0, "f1_macro": 1.0, "mcc": 1.0}, rows_of([True] * 40), {})
    assert set(perfect) == {"accuracy"}, "resamples of other metrics do not differ"


def test_intervals_contain_the_true_accuracy_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    ends = [interval((rng.random(150) < 0.8).tolist()) for _ in range(100)]
    assert 88 <= sum(low <= 0.8 <= high for low, high in ends) <= 99


def test_rows_of_a_document_are_drawn_together() -> None:
    right = [i // 20 != 0 for i in range(100)]  # one of five documents is wrong
    low, high = interval(right)
    wide = interval(right, group=[f"document {i // 20}" for i in range(100)])
    assert wide[0] < low < high < wide[1]
    places, count = documents([{"group": "x"}, {"group": None}, {"group": "x"}, {}])
    assert (places.tolist(), count) == ([0, 1, 0, 2], 3)


def test_only_what_the_predictions_lead_to_has_an_interval() -> None:
    rows = rows_of([True, False] * 20)
    results = {"accuracy": 0.9, "loss": 0.1, "auroc": 0.7, "f1_macro": sk.f1_score(*_columns(rows), average="macro")}
    assert set(metric_intervals("labels", results, rows, {})) == {"f1_macro"}, "0.9 is not the accuracy of these rows"
    assert metric_intervals(None, results, rows, {}) == metric_intervals("labels", results, rows[:1], {}) == {}
    assert metric_intervals("labels", {}, [], {}) == {}


def _columns(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return [[row[key] for row in rows] for key in ("label", "prediction")]


def test_intervals_are_the_same_each_time() -> None:
    rows = rows_of([i % 3 > 0 for i in range(50)])
    results = {"accuracy": float(np.mean([row["label"] == row["prediction"] for row in rows]))}
    assert metric_intervals("labels", results, rows, {}) == metric_intervals("labels", results, rows, {})


# The baseline


def test_the_baseline_gives_one_label_to_all() -> None:
    rows = rows_of([True] * 6)[:5]
    found = baseline_scores("labels", {"accuracy": 1.0, "f1_macro": 1.0, "mcc": 1.0, "loss": 0.1}, rows, {}, "a")
    assert found == {"accuracy": 3 / 5, "f1_macro": pytest.approx((6 / 8 + 0) / 2), "mcc": 0}
    assert baseline_scores("labels", {"accuracy": 1.0}, rows, {}, None) == {}


def test_the_baseline_of_other_tasks() -> None:
    gold = [["a"], [], ["a", "b"]]
    several = [{"id": str(i), "label": label, "prediction": [], "scores": SCORES} for i, label in enumerate(gold)]
    assert baseline_scores("labels", {"accuracy": 0.0, "f1_micro": 0.0}, several, {}, ["a"]) == pytest.approx(
        {"accuracy": 1 / 3, "f1_micro": 2 / 3}
    )
    values = [{"id": str(i), "label": float(i), "prediction": 9.0} for i in range(3)]
    assert baseline_scores("values", {"mae": 1.0, "pearson": 1.0}, values, {}, 1.0) == {"mae": pytest.approx(2 / 3)}
    entity = {"label": "PER", "start": 0, "end": 1}
    tagged = [{"id": "0", "tokens": ["x", "y"], "label": [entity], "prediction": [entity], "tags": ["B-PER", "O"]}]
    assert baseline_scores("tags", {"f1": 1.0, "accuracy": 1.0}, tagged, {}, "O") == {"f1": 0, "accuracy": 1 / 2}
    plain = [{"id": "0", "tokens": ["x", "y"], "label": ["N", "V"], "prediction": ["V", "V"]}]
    assert baseline_scores("tags", {"accuracy": 1.0}, plain, {}, "N") == {"accuracy": 1 / 2}
    asked = [{"id": str(i), "label": gold, "prediction": "x"} for i, gold in enumerate([["x"], [], []])]
    assert baseline_scores("answers", {"f1": 0.0}, asked, {}, "") == pytest.approx({"f1": 2 / 3})


@pytest.mark.parametrize("labels", [3, 400], ids=["few", "many"])
def test_sums_of_resamples_are_those_of_all_numbers(labels: int) -> None:
    rng = np.random.default_rng(0)
    counts = np.zeros((60, labels))
    counts[np.arange(60), rng.integers(labels, size=60)] = 1
    groups = rng.integers(7, size=60)
    weights = rng.integers(4, size=(5, 7)).astype(float)
    expected = np.array([(counts * drawn[groups][:, None]).sum(0) for drawn in weights])
    assert weighted_sums(counts, groups, 7)(weights).tolist() == expected.tolist()
