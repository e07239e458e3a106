"""What is kept and shown of large sets of labels."""

from typing import Any

import pytest

from ftlit.metrics.evidence.labels import label_names
from ftlit.util.label_sets import KEPT_SCORES, MANY_LABELS, listed, with_highest_scores

NAMES = [f"label{i}" for i in range(2000)]


def test_of_many_scores_the_highest_are_kept() -> None:
    scores = {name: (i * 7919 % 2000) / 2000 for i, name in enumerate(NAMES)}
    prediction = {"prediction": "x", "score": 0.9995, "scores": scores}
    found = with_highest_scores(prediction)
    assert list(found["scores"].values()) == sorted(scores.values(), reverse=True)[:KEPT_SCORES]
    assert all(scores[name] == score for name, score in found["scores"].items())
    assert {**found, "scores": scores} == prediction


@pytest.mark.parametrize(
    "prediction",
    [
        {"prediction": "x"},
        {"scores": dict.fromkeys(NAMES[:MANY_LABELS], 0.5)},
        {"scores": [0.5] * 500},
        {"scores": {name: [0.5, 0.5] for name in NAMES}},
    ],
    ids=["none", "few", "spans", "words"],
)
def test_other_predictions_stay_as_they_are(prediction: dict[str, Any]) -> None:
    assert with_highest_scores(prediction) is prediction


def test_studies_take_labels_from_the_rows_if_some_scores_were_left_out() -> None:
    rows = [{"label": name, "prediction": "label3", "scores": {"label3": 0.5}} for name in ("label7", "label1")]
    assert label_names([rows]) == ["label1", "label3", "label7"]
    known = [{**row, "scores": {"label9": 0.1, "label7": 0.2, "label3": 0.5, "label1": 0.2}} for row in rows]
    assert label_names([known]) == ["label9", "label7", "label3", "label1"]


def test_a_message_lists_many_labels_from_the_first_that_differs() -> None:
    assert listed(["a", "b"], ["b", "a"]) == "['a', 'b']"
    other = [*NAMES[:30], "new", *NAMES[30:]]
    assert listed(NAMES, other).startswith("[..., 'label30', 'label31', ")
    assert listed(NAMES, other).endswith("'label49', ...] (2000 in all)")
    assert listed(other, NAMES).startswith("[..., 'new', 'label30', ")
    assert listed(NAMES[:30], NAMES) == "[..., ] (30 in all)"
    assert len(listed(NAMES, other)) < 300
