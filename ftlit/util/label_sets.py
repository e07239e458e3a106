"""What is kept and shown of large sets of labels, so that files stay small and tables can be read."""

import heapq
from typing import Any

MANY_LABELS = 200  # up to here, everything is written
KEPT_SCORES = 20  # the highest scores of a prediction among many labels
SHOWN_LABELS = 20  # lines of a table of many labels


def with_highest_scores(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction with a score for each label; among many labels, only the highest scores are kept."""
    scores = prediction.get("scores")
    if not isinstance(scores, dict) or len(scores) <= MANY_LABELS or not isinstance(next(iter(scores.values())), float):
        return prediction
    return {**prediction, "scores": {name: scores[name] for name in heapq.nlargest(KEPT_SCORES, scores, scores.__getitem__)}}


def listed(labels: list[str], other: list[str]) -> str:
    """A list of labels for a message; of many, those from the first that differs from another list."""
    if max(len(labels), len(other)) <= SHOWN_LABELS:
        return str(labels)
    start = next((i for i, pair in enumerate(zip(labels, other, strict=False)) if pair[0] != pair[1]), len(other))
    shown = str(labels[start : start + SHOWN_LABELS])[1:-1]
    return f"[{'..., ' if start else ''}{shown}{', ...' if len(labels) > start + SHOWN_LABELS else ''}] ({len(labels)} in all)"


def has_many_labels(report: dict[str, Any]) -> bool:
    """Whether the report of an evaluation has a confusion matrix of many labels, which is kept as its cells above 0."""
    matrix: list[list[Any]] = report.get("confusion") or []
    return len(matrix) > MANY_LABELS and not isinstance(matrix[0][0], list)


def sparse_cells(matrix: list[list[int]]) -> list[tuple[int, int, int]]:
    """Row, column and count of each cell above 0, row by row."""
    return [(i, j, count) for i, row in enumerate(matrix) for j, count in enumerate(row) if count]


def compact_report(report: dict[str, Any]) -> dict[str, Any]:
    """A report as it is written: for many labels, ``confusion`` has the positions in ``labels`` and the counts of its cells."""
    if not has_many_labels(report):
        return report
    columns = zip(*sparse_cells(report["confusion"]), strict=True)
    return {**report, "confusion": dict(zip(("true", "predicted", "count"), map(list, columns), strict=False))}


def largest_confusions(report: dict[str, Any]) -> list[list[Any]]:
    """A header, and the pairs of labels that are confused most often with their counts."""
    wrong = [cell for cell in sparse_cells(report["confusion"]) if cell[0] != cell[1]]
    labels = report["labels"]
    most = heapq.nsmallest(SHOWN_LABELS, wrong, key=lambda cell: (-cell[2], cell))
    return [["true", "predicted", "count"], *([labels[i], labels[j], count] for i, j, count in most)]


def commonest(per_class: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the commonest labels of a table of scores, and the three averages at its end."""
    *rows, micro, macro, weighted = per_class
    return [*heapq.nlargest(SHOWN_LABELS, rows, key=lambda row: row["support"]), micro, macro, weighted]
