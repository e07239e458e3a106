"""Scores of relations against an output of the official scorer, scikit-learn, and a count by hand."""

import random
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from ftlit.metrics.relations import relation_scores, relation_table

NAMES = [
    *("Cause-Effect", "Component-Whole", "Content-Container", "Entity-Destination", "Entity-Origin"),
    *("Instrument-Agency", "Member-Collection", "Message-Topic", "Product-Producer"),
]
# Printed by semeval2010_task8_scorer-v1.2.pl under "taking directionality into account": rows are right answers, the last
# two columns are Other and the right relation in the wrong direction.
OFFICIAL = """
296 0 0 0 9 1 0 1 2 15 4
2 209 5 3 1 9 13 5 2 32 31
0 4 160 10 2 0 0 1 0 11 4
0 2 10 260 0 0 0 2 1 16 1
2 1 0 12 221 1 0 1 3 16 1
0 4 1 2 2 101 1 3 9 31 2
0 6 0 0 2 3 195 4 2 20 1
1 2 0 2 0 0 3 228 3 19 3
4 4 2 1 9 10 0 5 167 24 5
20 25 25 25 32 20 39 39 26 203 0
"""
OFFICIAL_F1 = [90.11, 69.67, 80.20, 85.53, 82.31, 66.67, 80.41, 82.46, 74.06]


def official_answers() -> tuple[list[str], list[str]]:
    columns = [*(f"{name}(e1,e2)" for name in NAMES), "Other"]
    gold: list[str] = []
    predicted: list[str] = []
    for right, line in zip(columns, OFFICIAL.split("\n")[1:-1], strict=True):
        for said, count in zip([*columns, right.replace("(e1,e2)", "(e2,e1)")], map(int, line.split()), strict=True):
            gold += [right] * count
            predicted += [said] * count
    return gold, predicted


def test_the_output_of_the_official_scorer() -> None:
    gold, predicted = official_answers()
    assert len(gold) == 2717
    found = {name: round(100 * value, 2) for name, value in relation_scores(gold, predicted, "Other").items()}
    micro = {"precision_micro": 78.84, "recall_micro": 81.18, "f1_micro": 79.99}
    assert found == {"f1_macro": 79.05, **micro, "accuracy": 75.08}
    rows = {row["label"]: row for row in relation_table(gold, predicted, "Other")}
    assert list(rows) == [*NAMES, "micro", "macro", "weighted"]
    assert [round(100 * rows[name]["f1"], 2) for name in NAMES] == OFFICIAL_F1
    assert rows["Component-Whole"]["precision"] == 209 / (257 + 31)
    assert rows["Component-Whole"]["support"] == 312


def test_a_wrong_direction_is_wrong_both_ways() -> None:
    found = relation_scores(["A(e1,e2)", "A(e1,e2)", "B(e2,e1)"], ["A(e2,e1)", "A(e1,e2)", "B(e2,e1)"])
    assert found["f1_macro"] == (0.5 + 1) / 2
    assert found["precision_micro"] == found["recall_micro"] == 2 / 3


def straightforward(gold: list[str], predicted: list[str]) -> float:
    """The macro F1 relation by relation, as the rule is told."""
    values = []
    for name in {label[:-7] for label in gold if label != "Other"}:
        asked = [i for i, label in enumerate(gold) if label.startswith(name)]
        given = [i for i, label in enumerate(predicted) if label.startswith(name)]
        right = [i for i in asked if gold[i] == predicted[i]]
        p, r = len(right) / len(given) if given else 0.0, len(right) / len(asked)
        values.append(2 * p * r / (p + r) if p + r else 0.0)
    return sum(values) / len(values)


@pytest.mark.parametrize("seed", range(20))
def test_random_labels_with_directions(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"{name}({way})" for name in "ABCD" for way in ("e1,e2", "e2,e1")] + ["Other"]
    gold, predicted = (rng.choices(names, k=12) for _ in range(2))
    found = relation_scores(gold, predicted, "Other")
    assert found["f1_macro"] == pytest.approx(straightforward(gold, predicted))
    micro: Any = precision_recall_fscore_support(gold, predicted, labels=names[:-1], average="micro", zero_division=0)
    assert [found[f"{name}_micro"] for name in ("precision", "recall", "f1")] == pytest.approx(micro[:3])
    assert found["accuracy"] == accuracy_score(gold, predicted)


@pytest.mark.parametrize("negative", ["no_relation", None])
def test_names_without_directions(negative: str | None) -> None:
    rng = random.Random(0)
    names = ["org:founded_by", "per:age", "no_relation"]
    gold, predicted = (rng.choices(names, k=50) for _ in range(2))
    found = relation_scores(gold, predicted, negative)
    for average in ("macro", "micro"):
        labels = [name for name in names if name != negative]
        *_, f1, _ = precision_recall_fscore_support(gold, predicted, labels=labels, average=average, zero_division=0)
        assert found[f"f1_{average}"] == pytest.approx(f1)


def test_nothing_but_the_negative_relation() -> None:
    assert relation_scores(["Other", "Other"], ["Other", "A(e1,e2)"], "Other") == {
        **dict.fromkeys(("f1_macro", "f1_micro", "precision_micro", "recall_micro"), 0.0),
        "accuracy": 0.5,
    }
