"""Per-class scores against scikit-learn, and the files of a report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix, precision_recall_fscore_support

from ftlit.commands.report import report_text, write_evaluation
from ftlit.metrics.per_class import per_class

NAMES = ["a", "b", "c", "d"]
KEYS = ("precision", "recall", "f1")


def single(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions; `d` is never right and, for an odd seed, never there."""
    rng = np.random.default_rng(seed)
    return rng.integers(3 + (seed + 1) % 2, size=40), rng.integers(3, size=40)


def several(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, predictions = (rng.random((40, 4)) < [0.5, 0.2, 0.7, 0.1] for _ in range(2))
    labels[:, 3] &= seed % 2 == 0
    predictions[:, 3] &= seed % 2 == 0
    return labels.astype(int), predictions.astype(int)


def check(rows: list[dict], labels: np.ndarray, predictions: np.ndarray) -> None:
    """Compare a report with scikit-learn's."""
    known = {"labels": range(4), "zero_division": 0}
    each = precision_recall_fscore_support(labels, predictions, **known)
    assert [row["label"] for row in rows] == [*NAMES, "micro", "macro", "weighted"]
    for i, row in enumerate(rows[:4]):
        assert [row[key] for key in (*KEYS, "support")] == pytest.approx([values[i] for values in each])
    for row in rows[4:]:
        # Of one label per text, scikit-learn leaves out of the macro average those that occur nowhere; of several, it does not.
        expected = precision_recall_fscore_support(labels, predictions, average=row["label"], zero_division=0)
        assert [row[key] for key in KEYS] == pytest.approx(expected[:3]), row["label"]
        assert row["support"] == sum(each[3])


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_one_label_are_scikit_learn_s(seed: int) -> None:
    labels, predictions = single(seed)
    check(per_class(confusion_matrix(labels, predictions, labels=range(4)).tolist(), NAMES), labels, predictions)


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_several_labels_are_scikit_learn_s(seed: int) -> None:
    labels, predictions = several(seed)
    check(per_class(multilabel_confusion_matrix(labels, predictions).tolist(), NAMES), labels, predictions)


def test_nothing_at_all_scores_zero() -> None:
    rows = per_class([[0, 0], [0, 0]], ["a", "b"])
    assert all(row[key] == 0 for row in rows for key in (*KEYS, "support"))


def test_the_files_hold_the_matrix_and_the_scores(tmp_path: Path) -> None:
    matrix = [[5, 1], [2, 3]]
    report = {"per_class": per_class(matrix, ["bad", "good"]), "confusion": matrix, "labels": ["bad", "good"]}
    files = write_evaluation(tmp_path, "test", report)
    assert [file.name for file in files] == [
        f"test_{n}" for n in ("report.json", "report.txt", "confusion.csv", "confusion.png")
    ]
    assert json.loads(files[0].read_text()) == report
    assert files[1].read_text() == report_text(report) + "\n"
    assert list(csv.reader(files[2].open())) == [["true \\ predicted", "bad", "good"], ["bad", "5", "1"], ["good", "2", "3"]]
    assert files[3].read_bytes().startswith(b"\x89PNG")
    assert sorted(tmp_path.iterdir()) == sorted(files), "a part of a file was left"
    last = [line.split() for line in report_text(report).splitlines()[-2:]]
    assert last == [["bad", "5", "1"], ["good", "2", "3"]]


def test_a_matrix_wider_than_the_screen_is_in_its_file_alone(tmp_path: Path) -> None:
    names = [f"a rather long label {i}" for i in range(6)]
    matrix = np.diag(range(6)).tolist()
    report = {"per_class": per_class(matrix, names), "confusion": matrix, "labels": names}
    assert report_text(report).splitlines()[-1].startswith("weighted")
    write_evaluation(tmp_path, "test", report, picture=False)
    assert len((tmp_path / "test_confusion.csv").read_text().splitlines()) == 7


def test_several_labels_have_four_counts_each(tmp_path: Path) -> None:
    matrix = [[[9, 1], [2, 3]], [[4, 0], [5, 6]]]
    report = {"per_class": per_class(matrix, ["x", "y"]), "confusion": matrix, "labels": ["x", "y"]}
    write_evaluation(tmp_path, "validation", report)
    rows = list(csv.reader((tmp_path / "validation_confusion.csv").open()))
    assert rows[0] == ["label", "true_negative", "false_positive", "false_negative", "true_positive"]
    assert rows[1:] == [["x", "9", "1", "2", "3"], ["y", "4", "0", "5", "6"]]


def test_a_task_without_a_report_writes_nothing(tmp_path: Path) -> None:
    assert write_evaluation(tmp_path, "test", {}) == []
    assert list(tmp_path.iterdir()) == []
