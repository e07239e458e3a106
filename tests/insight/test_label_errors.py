"""Confident learning, on labels of which it is known which are wrong."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from ftlit import find_label_errors
from ftlit.errors import UserError

NAMES = ["bad", "good", "mixed"]


def noisy(rng: np.random.Generator, rows: int = 1000, share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of which a share is wrong, probabilities of a fair model, and which labels are wrong."""
    true = rng.choice(3, rows, p=[0.6, 0.3, 0.1])
    logits = rng.normal(0, 1, (rows, 3))
    logits[np.arange(rows), true] += 3
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = rng.random(rows) < share
    return np.where(wrong, (true + rng.integers(1, 3, rows)) % 3, true), chances, wrong


def test_most_of_the_first_labels_are_wrong() -> None:
    codes, chances, wrong = noisy(np.random.default_rng(0))
    found = find_label_errors([NAMES[code] for code in codes], chances, NAMES)
    tenth = found["example"][: len(codes) // 10]
    assert wrong[tenth].mean() >= 0.7
    assert found["margin"].is_monotonic_increasing
    assert (found["label"] != found["suggested"]).all()


def test_the_rule_of_the_paper() -> None:
    """Thresholds are the mean probability of a label in the examples that have it, and the most probable one above wins."""
    codes, chances, _ = noisy(np.random.default_rng(1), 300)
    thresholds = [chances[codes == label, label].mean() for label in range(3)]
    expected = {}
    for i, (code, row) in enumerate(zip(codes, chances, strict=True)):
        sure = [label for label in range(3) if row[label] >= thresholds[label]]
        if sure and (best := max(sure, key=row.__getitem__)) != code:
            expected[i] = (NAMES[code], NAMES[best], row[code], row[best])
    for given in (chances, csr_array(chances)):
        found = find_label_errors([NAMES[code] for code in codes], given, NAMES)
        rows = found.itertuples(index=False)
        assert {row.example: (row.label, row.suggested, row.probability, row.suggested_probability) for row in rows} == expected


def test_a_label_without_examples_is_never_suggested() -> None:
    chances = np.array([[0.1, 0.2, 0.7]] * 4 + [[0.9, 0.1, 0.0]] * 4)
    found = find_label_errors(["good"] * 4 + ["bad"] * 4, chances, NAMES)
    assert "mixed" not in set(found["suggested"])


def test_several_labels_are_judged_apart() -> None:
    rng = np.random.default_rng(2)
    has = rng.random((400, 2)) < [0.5, 0.3]
    chances = np.clip(np.where(has, 0.85, 0.1) + rng.normal(0, 0.05, has.shape), 0.01, 0.99)
    chances[7, 0], chances[9, 1] = np.where(has[[7, 9], [0, 1]], 0.99, 0.01)
    given = has.copy()
    given[7, 0], given[9, 1] = not has[7, 0], not has[9, 1]
    labels = [[name for name, own in zip(("joy", "anger"), row, strict=True) if own] for row in given]
    found = find_label_errors(labels, chances, ["joy", "anger"])
    assert list(found["example"][:2].sort_values()) == [7, 9]
    seven = found[found["example"] == 7].iloc[0]
    assert (seven["label"], seven["suggested"]) == (("no joy", "joy") if has[7, 0] else ("joy", "no joy"))
    assert len(found) == 2


def test_an_unknown_label() -> None:
    with pytest.raises(UserError, match="label 'ugly' has no probabilities; they are those of bad, good, mixed"):
        find_label_errors(["ugly"], np.ones((1, 3)), NAMES)
