"""Findings of an evaluation that one number does not hold: per-class scores and the confusion matrix."""

import csv
import io
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ftlit.files import write_json, write_text

SHOWN_LABELS = 40  # beyond, cells of the picture cannot be read
PRINTED_WIDTH = 120  # characters of a line; wider matrices are in their file alone


def per_class(matrix: list[Any], labels: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each label, and their averages.

    Args:
        matrix: Confusion matrix, rows are the true labels: ``(labels, labels)``, or ``(labels, 2, 2)`` where a text has
            several labels.
        labels: Names of the labels.

    Returns:
        A row a label, then the rows ``micro``, ``macro`` and ``weighted``. A score that would be 0 / 0 is 0; a label that
        is neither right nor predicted anywhere has no part in the macro average, as in torchmetrics.
    """
    if matrix and isinstance(matrix[0][0], list):
        counts = [(m[1][1], m[0][1], m[1][0]) for m in matrix]
    else:
        columns = [sum(row[i] for row in matrix) for i in range(len(matrix))]
        counts = [(row[i], columns[i] - row[i], sum(row) - row[i]) for i, row in enumerate(matrix)]
    return scores_of([(name, *count) for name, count in zip(labels, counts, strict=True)])


def scores_of(counts: list[tuple[str, int, int, int]]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support from counts, and their averages.

    Args:
        counts: Name of each label, and how often it was found rightly, found wrongly, and missed.

    Returns:
        A row a label, then the rows ``micro``, ``macro`` and ``weighted``, as `per_class` gives.
    """
    rows = [_scores(*count) for count in counts]
    total = sum(row["support"] for row in rows)
    micro = _scores("micro", sum(c[1] for c in counts), sum(c[2] for c in counts), sum(c[3] for c in counts))
    return [*rows, micro, _average("macro", rows, [int(sum(count[1:]) > 0) for count in counts], total),
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


def report_text(report: dict[str, Any]) -> str:
    """The per-class scores and the confusion matrix as tables, and how metrics count where they have a signature."""
    parts = [f"{name}: {signature}" for name, signature in report.get("signatures", {}).items()]
    if "per_class" in report:
        parts.append(tabulate(report["per_class"], headers="keys", floatfmt=".4f", tablefmt="simple"))
    if "confusion" in report:
        table = tabulate(confusion_rows(report), headers="firstrow", tablefmt="simple")
        if table.index("\n") <= PRINTED_WIDTH:
            parts.append("\n" + table)
    return "\n".join(parts)


def write_report(folder: Path, split: str, report: dict[str, Any], picture: bool = True) -> list[Path]:
    """Write the findings of a split beside its results.

    Args:
        folder: The run's folder.
        split: The split.
        report: Its findings.
        picture: Whether the confusion matrix is drawn too.

    Returns:
        The files written: JSON and text, and where there is a confusion matrix, its CSV and PNG.
    """
    if not report:
        return []
    files = [folder / f"{split}_report.json", folder / f"{split}_report.txt"]
    write_json(files[0], report)
    write_text(files[1], report_text(report) + "\n")
    if "confusion" in report:
        files.append(folder / f"{split}_confusion.csv")
        out = io.StringIO()
        csv.writer(out).writerows(confusion_rows(report))
        write_text(files[-1], out.getvalue())
    if "confusion" in report and picture:
        files.append(folder / f"{split}_confusion.png")
        plot_confusion(files[-1], report, f"{folder.name}: {split}")
    return files


def confusion_rows(report: dict[str, Any]) -> list[list[Any]]:
    """The confusion matrix: a header, then a row a true label, or the four counts of each where a text has several."""
    matrix, labels = report["confusion"], report["labels"]
    if matrix and isinstance(matrix[0][0], list):
        header = ["label", "true_negative", "false_positive", "false_negative", "true_positive"]
        return [header, *([name, *m[0], *m[1]] for name, m in zip(labels, matrix, strict=True))]
    return [["true \\ predicted", *labels], *([name, *row] for name, row in zip(labels, matrix, strict=True))]


def plot_confusion(path: Path, report: dict[str, Any], title: str) -> None:
    """Draw the confusion matrix, shaded by the share of each true label.

    Where a text has several labels, each label's row holds its own four counts.
    """
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    matrix, labels = report["confusion"], report["labels"]
    columns = labels
    if matrix and isinstance(matrix[0][0], list):
        columns = ["rightly not", "wrongly", "missed", "rightly"]
        matrix = [[*m[0], *m[1]] for m in matrix]
    shares = [[cell / (sum(row) or 1) for cell in row] for row in matrix]
    width, height = 2.5 + 0.5 * len(columns), 2.0 + 0.4 * len(labels)
    figure = Figure(figsize=(min(max(width, 4.0), 24), min(max(height, 3.2), 24)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= SHOWN_LABELS:
        for i, row in enumerate(matrix):
            for j, cell in ((j, cell) for j, cell in enumerate(row) if cell):  # a zero says less than its absence
                color = "white" if shares[i][j] > 0.5 else "black"
                axes.text(j, i, str(cell), ha="center", va="center", color=color, fontsize=8, in_layout=False)
    beside = path.with_suffix(".part.png")
    figure.savefig(beside, dpi=150)
    beside.replace(path)
