"""Write the per-class scores and the confusion matrix of an evaluation as text, files and a plot."""

import csv
import io
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ftlit.metrics.calibration.measures import MEASURES
from ftlit.runs.reading import INTERVAL
from ftlit.util.files import replacing, write_json, write_text
from ftlit.util.label_sets import MANY_LABELS, commonest, compact_report, has_many_labels, largest_confusions, sparse_cells

# Whether confusion matrices are plotted, which takes longer than the rest of a report.
PICTURES = ContextVar("pictures", default=True)
SHOWN_LABELS = 40  # beyond, cells of the picture cannot be read
FAST_COMPRESSION = 1  # of zlib: a quarter of the time for a third more bytes
PRINTED_WIDTH = 120  # characters of a line; wider matrices are in their file alone


def report_text(report: dict[str, Any], whole: bool = False) -> str:
    """Format the per-class scores, the confusion matrix and the signatures of metrics as text.

    Args:
        report: The details of an evaluation.
        whole: Whether to list all labels even if they are many; otherwise only the commonest are shown.
    """
    parts = [f"{name}: {signature}" for name, signature in report.get("signatures", {}).items()]
    if "per_class" in report:
        rows = report["per_class"]
        many = len(rows) > MANY_LABELS and not whole
        parts.append(tabulate(commonest(rows) if many else rows, headers="keys", floatfmt=".4f", tablefmt="simple"))
        parts += [f"(the commonest of {len(rows) - 3} labels; all of them are in the report of the run folder)"] if many else []
    if has_many_labels(report):
        confused = tabulate(largest_confusions(report), headers="firstrow", tablefmt="simple")
        parts.append("\nmost frequent confusions\n" + confused)
    elif "confusion" in report:
        table = tabulate(confusion_rows(report), headers="firstrow", tablefmt="simple")
        if table.index("\n") <= PRINTED_WIDTH:
            parts.append("\n" + table)
    parts += [f"\n{calibration_text(found, whole)}" for found in report.get("calibration", [])]
    return "\n".join(parts)


def calibration_text(found: dict[str, Any], whole: bool = False) -> str:
    """Format the measures of calibration of one sort of decision as tables.

    Args:
        found: An entry of the report's ``calibration``.
        whole: Whether to add the reliability diagram and the risk-coverage curve.
    """
    numbers = {name: found[name] for name in MEASURES if name in found}
    rows = [[name, one["value"], "{:.4f} to {:.4f}".format(*one["interval"]), MEASURES[name]] for name, one in numbers.items()]
    head = f"calibration of {found['count']:,} {found['of']}"
    parts = [tabulate(rows, headers=[head, "", INTERVAL, ""], floatfmt=".4f", tablefmt="simple")]
    for key in ("reliability", "risk_coverage") if whole else ():
        parts.append(tabulate(found[key], headers="keys", floatfmt=".4f", tablefmt="simple"))
    return "\n\n".join(parts)


def write_evaluation(folder: Path, split: str, report: dict[str, Any], picture: bool = True) -> list[Path]:
    """Write the per-class scores and the confusion matrix of an evaluation to the run folder.

    Args:
        folder: The run's folder.
        split: The split.
        report: The details of the evaluation, from `TaskModule.evaluation_details`.
        picture: Whether to plot the confusion matrix too.

    Returns:
        The written files: JSON and text, and the CSV and PNG of the confusion matrix if there is one. For many labels, the CSV
        has the cells above 0 only, and there is no picture.
    """
    if not report:
        return []
    files = [folder / f"{split}_report.json", folder / f"{split}_report.txt"]
    write_json(files[0], compact_report(report), durable=False)  # results.json follows
    write_text(files[1], report_text(report, whole=True) + "\n", durable=False)
    if "confusion" in report:
        files.append(folder / f"{split}_confusion.csv")
        out = io.StringIO()
        csv.writer(out).writerows(confusion_rows(report))
        write_text(files[-1], out.getvalue(), durable=False)
    if "confusion" in report and picture and PICTURES.get() and len(report["labels"]) <= MANY_LABELS:
        files.append(folder / f"{split}_confusion.png")
        plot_confusion(files[-1], report, f"{folder.name}: {split}")
    return files


def confusion_rows(report: dict[str, Any]) -> list[list[Any]]:
    """The confusion matrix with a header.

    One row per true label, or the four counts of each label in a multi-label task; for many labels, the cells above 0.
    """
    matrix, labels = report["confusion"], report["labels"]
    if has_many_labels(report):
        return [["true", "predicted", "count"], *([labels[i], labels[j], n] for i, j, n in sparse_cells(matrix))]
    if matrix and isinstance(matrix[0][0], list):
        header = ["label", "true_negative", "false_positive", "false_negative", "true_positive"]
        return [header, *([name, *m[0], *m[1]] for name, m in zip(labels, matrix, strict=True))]
    return [["true \\ predicted", *labels], *([name, *row] for name, row in zip(labels, matrix, strict=True))]


def plot_confusion(path: Path, report: dict[str, Any], title: str) -> None:
    """Plot the confusion matrix, shaded by the share of each true label.

    In a multi-label task, each row has the four counts of a label.
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
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1)  # takes a third of the time of imshow, which resamples
    axes.invert_yaxis()
    axes.set_xticks([j + 0.5 for j in range(len(columns))], columns, rotation=45, ha="right")
    axes.set_yticks([i + 0.5 for i in range(len(labels))], labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= SHOWN_LABELS:
        for i, row in enumerate(matrix):
            for j, cell in ((j, cell) for j, cell in enumerate(row) if cell):  # a zero says less than its absence
                color = "white" if shares[i][j] > 0.5 else "black"
                axes.text(j + 0.5, i + 0.5, str(cell), ha="center", va="center", color=color, fontsize=8, in_layout=False)
    with replacing(path, durable=False) as beside:
        figure.savefig(beside, dpi=150, format="png", pil_kwargs={"compress_level": FAST_COMPRESSION})
