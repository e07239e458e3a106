"""The command that explains the predictions of a run by the words of its texts."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from ftlit.data.rows.columns import every_row
from ftlit.errors import UserError, near
from ftlit.exports.predict import load, read_input
from ftlit.exports.predicting.predictor import Predictor
from ftlit.insight.explain.checks import check
from ftlit.insight.explain.explainer import Explainer
from ftlit.insight.explain.explanation import Explanation
from ftlit.insight.explain.methods import method_of
from ftlit.insight.explain.report import LINES, NAME, SHOWN_TEXTS, Summary, document, text
from ftlit.insight.report import report_folder, write_report
from ftlit.runs.reading import RunFolder
from ftlit.util.arguments.ranges import COUNT

SPLITS = ("train", "validation", "test")
CHECKED, CHECKED_OF_A_ROW = 200, 4  # explanations that are checked, and those of one row among them


def explain(
    run: str,
    input: str | None = None,
    split: str | None = None,
    method: str = "integrated_gradients",
    label: str | None = None,
    limit: int = 100,
    checks: bool = True,
    output: str | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    checkpoint: str = "best",
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Explain predictions by the words of their texts, and check whether the explanations can be believed.

    Args:
        run: Folder of the run.
        input: File with the texts (jsonl, csv, tsv, json or parquet with the run's text columns, or txt with one text per
            line), or `-` to read one text per line from standard input.
        split: Split of the run's data to explain instead: `train`, `validation` or `test`.
        method: `integrated_gradients`, `gradient_x_input`, `occlusion` of words, or `shapley`, sampled Shapley values of words.
        label: The label to explain; by default what is predicted.
        limit: Number of rows, from the first.
        checks: Whether to compare the attributions with random orders of words and with random weights.
        output: Folder to write. Defaults to insight/explain in the folder of the run.
        overwrite: Whether to replace earlier explanations in this folder.
        batch_size: Number of texts per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the model. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: An option is wrong, the rows cannot be read, or nothing is predicted for them.
    """
    folder = Path(run).expanduser()
    _check(folder, input, split, method, limit)
    with report_folder(folder, NAME, output, overwrite) as work:
        predictor = load(folder, checkpoint, device, trust_remote_code, trust_classes, calibrated=False)
        explainer = Explainer(predictor, method, label, batch_size)
        rows = list(islice(rows_of(predictor, input, split), limit))
        job = _Job(len(rows))
        job.write(explainer.stream(tqdm(rows, desc="Explaining", unit=" rows", disable=None)), work / LINES)
        found = check(explainer, job.checked) if checks else None
        summary = Summary(
            folder.resolve().name, type(predictor.model).__name__, method, str(input or split), explainer.view.output,
            str(predictor.data.tokenizer.convert_ids_to_tokens(explainer.stand_in)), len(rows), job.count,
            len(rows) - len(job.of_rows), job.truncated, job.complete / job.count, job.middle_steps, found,
        )  # fmt: skip
        write_report(work, NAME, document(summary, job.shown), summary.numbers())
        print(text(summary))


def _check(run: Path, input: str | None, split: str | None, method: str, limit: int) -> None:
    """Check the options before anything is loaded.

    Raises:
        UserError: One is wrong.
    """
    RunFolder(run).check()
    if (input is None) == (split is None):
        raise UserError("explain takes --input with a file of texts, or --split of the run's data; give one of them")
    if split is not None and split not in SPLITS:
        raise UserError(f"--split {split!r} is none of {', '.join(SPLITS)}. {near(split, SPLITS)}")
    if input not in (None, "-") and not Path(str(input)).is_file():
        raise UserError(f"--input {input!r} does not exist")
    if not COUNT.accepts(limit):
        raise UserError(f"--limit must be {COUNT}, got {limit!r}")
    method_of(method)


def rows_of(predictor: Predictor, input: str | None, split: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file or of a split of a run's data, with their ids.

    Raises:
        UserError: There is no such split, or a row cannot be used.
    """
    located = read_input(input, predictor.data.readers) if input is not None else _of_split(predictor.data, str(split))
    for i, (place, row) in enumerate(located):
        yield predictor.located_row(i, place, row)


def _of_split(data: Any, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The inputs of the rows of a split, with their places."""
    data.require([split])
    columns = (data.input_columns() | data.optional_columns()).values()
    for row in every_row(data.rows[split]):
        yield row["row_id"], {"id": row["row_id"], **{name: row[name] for name in columns if name in row}}


class _Job:
    """Writes explanations, and keeps what the report needs of them.

    Args:
        rows: Number of rows.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.count = self.complete = self.truncated = 0
        self.steps: list[int] = []
        self.of_rows: dict[int, int] = {}  # number of explanations of each row
        self.shown: list[Explanation] = []
        self.checked: list[Explanation] = []

    def write(self, explanations: Iterable[Explanation], path: Path) -> None:
        """Write explanations as lines of JSON.

        Raises:
            UserError: There are none.
        """
        with path.open("w", encoding="utf-8") as file:
            for one in explanations:
                file.write(json.dumps(one.record(), ensure_ascii=False) + "\n")
                self._keep(one)
        if not self.count:
            raise UserError(
                f"none of the {self.rows} rows has a predicted label, entity or text, so there is nothing to explain; give "
                "other rows, or with --label a label to explain whatever is predicted"
            )

    def _keep(self, one: Explanation) -> None:
        self.of_rows[one.row] = self.of_rows.get(one.row, 0) + 1
        self.count, self.complete = self.count + 1, self.complete + one.complete
        self.truncated += one.example.truncated
        self.steps += [one.steps] if one.steps is not None else []
        if len(self.shown) < SHOWN_TEXTS:
            self.shown.append(one)
        if len(self.checked) < CHECKED and self.of_rows[one.row] <= CHECKED_OF_A_ROW:
            self.checked.append(one)

    @property
    def middle_steps(self) -> int | None:
        """The median number of steps of integrated gradients, or None."""
        return int(median(self.steps)) if self.steps else None
