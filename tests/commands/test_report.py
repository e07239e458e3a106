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


MANY = [f"label{i}" for i in range(2000)]


def test_many_labels_are_written_as_the_cells_above_zero(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(2000, size=3000), rng.integers(2000, size=3000)
    labels[:40], predictions[:40] = 7, 8
    matrix = confusion_matrix(labels, predictions, labels=range(2000)).tolist()
    report = {"per_class": per_class(matrix, MANY), "confusion": matrix, "labels": MANY}
    files = write_evaluation(tmp_path, "test", report)
    assert [file.suffix for file in files] == [".json", ".txt", ".csv"], "a picture of 2,000 labels cannot be read"
    assert sum(file.stat().st_size for file in files) < 2_000_000
    written = json.loads(files[0].read_text())
    again = np.zeros((2000, 2000), dtype=int)
    again[written["confusion"]["true"], written["confusion"]["predicted"]] = written["confusion"]["count"]
    assert again.tolist() == matrix
    assert {**written, "confusion": matrix} == report
    header, *cells = csv.reader(files[2].open())
    assert header == ["true", "predicted", "count"]
    assert {(true, predicted): int(count) for true, predicted, count in cells}["label7", "label8"] == matrix[7][8]
    assert sum(int(cell[2]) for cell in cells) == 3000
    assert len(files[1].read_text().splitlines()) > 2003, "the file lists all labels"


def test_the_screen_shows_the_commonest_of_many_labels() -> None:
    matrix = np.diag([*range(2, 300), 1]).tolist()
    matrix[3][5] = matrix[5][4] = 9
    names = MANY[: len(matrix)]
    lines = report_text({"per_class": per_class(matrix, names), "confusion": matrix, "labels": names}).splitlines()
    assert len(lines) < 40
    assert [line.split()[0] for line in lines[2:25]] == [
        *(f"label{i}" for i in range(297, 277, -1)), "micro", "macro", "weighted"
    ]  # fmt: skip
    assert "(the commonest of 299 labels; all of them are in the report of the run folder)" in lines
    assert [line.split() for line in lines[-2:]] == [["label3", "label5", "9"], ["label5", "label4", "9"]]


def test_up_to_200_labels_are_written_whole(tmp_path: Path) -> None:
    matrix = np.diag(range(200)).tolist()
    report = {"per_class": per_class(matrix, MANY[:200]), "confusion": matrix, "labels": MANY[:200]}
    files = write_evaluation(tmp_path, "test", report, picture=False)
    assert files[0].read_text() == json.dumps(report, indent=2) + "\n"
    assert len(files[2].read_text().splitlines()) == 201


def test_several_of_many_labels_have_no_picture(tmp_path: Path) -> None:
    matrix = [[[9, 1], [2, 3]]] * 300
    report = {"per_class": per_class(matrix, MANY[:300]), "confusion": matrix, "labels": MANY[:300]}
    files = write_evaluation(tmp_path, "test", report)
    assert [file.suffix for file in files] == [".json", ".txt", ".csv"]
    assert json.loads(files[0].read_text()) == report


def test_a_task_without_a_report_writes_nothing(tmp_path: Path) -> None:
    assert write_evaluation(tmp_path, "test", {}) == []
    assert list(tmp_path.iterdir()) == []
