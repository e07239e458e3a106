"""The confusion matrix of a run, as its report of a split has it."""

from typing import Any, NamedTuple

from ftlit.serve.studio.runs import StudioRun
from ftlit.serve.studio.tree import own_file
from ftlit.util.files import damaged, read_json
from ftlit.util.label_sets import SHOWN_LABELS, largest_confusions

SHADES = 9  # classes of cells in page.css


class Cell(NamedTuple):
    """A cell of a matrix.

    Attributes:
        label: The right label.
        prediction: The predicted label.
        examples: How many examples have them.
        shade: The share among the examples of the label, from 0 to `SHADES`.
    """

    label: str
    prediction: str
    examples: int
    shade: int


class Confusion(NamedTuple):
    """A confusion matrix, or what can be shown of it.

    Attributes:
        labels: The labels.
        matrix: Its cells by right label, if there are few labels.
        pairs: The pairs that are confused most often, if there are many.
        several: For several labels a text, each label with its right, wrong and missing ones.
        listed: Whether the rows of predictions have these labels, so that those of a cell can be listed.
    """

    labels: list[str]
    matrix: list[list[Cell]]
    pairs: list[Cell]
    several: list[list[Any]]
    listed: bool


def confusion(run: StudioRun, split: str) -> Confusion | None:
    """The confusion matrix of a split; None if the task has none.

    Raises:
        UserError: The report is damaged.
    """
    path = own_file(run.folder, f"{split}_report.json")
    report = read_json(path) if path else {}
    if not report.get("confusion"):
        return None
    try:
        return _of(report, run.known.get("evidence") != "tags")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        assert path is not None
        raise damaged(path, "its confusion matrix has another form than ftlit writes") from error


def _of(report: dict[str, Any], listed: bool) -> Confusion:
    labels, found = [str(name) for name in report["labels"]], report["confusion"]
    if isinstance(found, dict):
        wrong = [cell for cell in zip(found["true"], found["predicted"], found["count"], strict=True) if cell[0] != cell[1]]
        most = sorted(wrong, key=lambda cell: -cell[2])[:SHOWN_LABELS]
        return Confusion(labels, [], [Cell(labels[i], labels[j], n, 0) for i, j, n in most], [], listed)
    if isinstance(found[0][0], list):
        counts = [
            [name, *(cells[i][j] for i, j in ((1, 1), (0, 1), (1, 0)))] for name, cells in zip(labels, found, strict=True)
        ]
        return Confusion(labels, [], [], counts, False)
    if len(labels) > SHOWN_LABELS:
        pairs = [Cell(a, b, n, 0) for a, b, n in largest_confusions({**report, "labels": labels})[1:]]
        return Confusion(labels, [], pairs, [], listed)
    return Confusion(labels, [_row(labels, i, row) for i, row in enumerate(found)], [], [], listed)


def _row(labels: list[str], i: int, row: list[int]) -> list[Cell]:
    total = max(sum(row), 1)
    return [Cell(labels[i], labels[j], n, round(SHADES * n / total)) for j, n in enumerate(row)]
