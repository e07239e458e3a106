"""Precision, recall and F1 of each label, and their averages."""

from typing import Any


def per_class(matrix: list[Any], labels: list[str]) -> list[dict[str, Any]]:
    """Compute precision, recall, F1 and support of each label, and their averages, from a confusion matrix.

    Args:
        matrix: Confusion matrix with true labels as rows, ``(labels, labels)``, or ``(labels, 2, 2)`` for multi-label tasks.
        labels: Names of the labels.

    Returns:
        A row for each label, then the rows ``micro``, ``macro`` and ``weighted``. Undefined scores (0 / 0) are 0. A label that
        is neither true nor predicted anywhere counts as 0 in the macro average of a multi-label task, and is excluded from
        that of other tasks, as in scikit-learn and torchmetrics.
    """
    several = bool(matrix) and isinstance(matrix[0][0], list)
    if several:
        counts = [(m[1][1], m[0][1], m[1][0]) for m in matrix]
    else:
        columns = [sum(row[i] for row in matrix) for i in range(len(matrix))]
        counts = [(row[i], columns[i] - row[i], sum(row) - row[i]) for i, row in enumerate(matrix)]
    return scores_of([(name, *count) for name, count in zip(labels, counts, strict=True)], absent_count=several)


def scores_of(counts: list[tuple[str, int, int, int]], absent_count: bool = False) -> list[dict[str, Any]]:
    """Compute precision, recall, F1 and support of each label, and their averages, from counts.

    Args:
        counts: Name of each label with its numbers of true positives, false positives and false negatives.
        absent_count: Whether labels without any of these count as 0 in the macro average.

    Returns:
        A row for each label, then the rows ``micro``, ``macro`` and ``weighted``, as in `per_class`.
    """
    rows = [_scores(*count) for count in counts]
    total = sum(row["support"] for row in rows)
    micro = _scores("micro", sum(c[1] for c in counts), sum(c[2] for c in counts), sum(c[3] for c in counts))
    present = [int(absent_count or sum(count[1:]) > 0) for count in counts]
    return [*rows, micro, _average("macro", rows, present, total),
            _average("weighted", rows, [row["support"] for row in rows], total)]  # fmt: skip


def _scores(name: str, hits: int, false: int, missed: int) -> dict[str, Any]:
    precision = hits / (hits + false) if hits + false else 0.0
    recall = hits / (hits + missed) if hits + missed else 0.0
    f1 = 2 * hits / (2 * hits + false + missed) if hits + false + missed else 0.0
    return {"label": name, "precision": precision, "recall": recall, "f1": f1, "support": hits + missed}


def _average(name: str, rows: list[dict[str, Any]], weights: list[int], support: int) -> dict[str, Any]:
    total = sum(weights) or 1
    means = {
        key: sum(row[key] * weight for row, weight in zip(rows, weights, strict=True)) / total
        for key in ("precision", "recall", "f1")
    }
    return {"label": name, **means, "support": support}
