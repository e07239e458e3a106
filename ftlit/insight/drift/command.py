"""The command that says what changed between the data of a run and new rows."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tabulate import tabulate

from ftlit.errors import UserError
from ftlit.exports.export import check_finished
from ftlit.exports.predict import load
from ftlit.insight.drift.comparison import Kind
from ftlit.insight.drift.measure import Drift, Settings, measure
from ftlit.insight.drift.report import document, sentences, tests_table
from ftlit.insight.drift.samples import LEAST_ROWS
from ftlit.insight.report import report_folder, write_report
from ftlit.runs.reading import RunFolder
from ftlit.util.arguments.ranges import SEED, Range

NAME = "drift"
PACKAGES = {"scipy": "SciPy", "sklearn": "scikit-learn"}
NUMBERS = {"limit": Range(least=LEAST_ROWS, whole=True), "seed": SEED}


def drift(
    run: str,
    input: str,
    output: str | None = None,
    reference: Literal["train", "validation", "test"] = "validation",
    test: Kind = "classifier",
    limit: int = 5000,
    seed: int = 0,
    overwrite: bool = False,
    checkpoint: str = "best",
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> Drift:
    """Say what changed between the data of a finished run and new rows, and what accuracy to expect on them, without labels.

    Args:
        run: Folder of the run.
        input: File with the new rows (jsonl, csv, tsv, json or parquet with the run's input columns, or txt with one text per
            line). If it has the right answers, too, the metric is computed beside its estimate.
        output: Folder to write: drift.html, drift.md and drift.json. Defaults to `insight/drift` in the folder of the run.
        reference: The split that the new rows are compared with.
        test: How embeddings are compared: by a classifier that tells new rows from the reference, or by their maximum mean
            discrepancy.
        limit: Number of rows that are drawn at random from the file, from the reference and from train.
        seed: Seed of all draws.
        overwrite: Whether to replace an earlier report in the output folder.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Returns:
        What was found; ``drift(...).table`` is a data frame of the tests.

    Raises:
        UserError: An option is wrong, the run is not finished, or a row of the file does not fit the run.
    """
    _check(limit=limit, seed=seed)
    folder = Path(run).expanduser()
    RunFolder(folder).check()
    check_finished(folder)
    if not Path(input).is_file():
        raise UserError(f"--input {input!r} does not exist; expected a file with new rows, such as new.csv")
    with report_folder(folder, NAME, output, overwrite) as place:
        predictor = load(folder, checkpoint, device, trust_remote_code, trust_classes, calibrated=False)
        found = measure(predictor, RunFolder(folder), input, Settings(reference, test, limit, seed))
        write_report(place, NAME, document(found), found.record())
        print(text(found))
    return found


def _check(**given: int) -> None:
    """Check the packages that are needed, and the options that are numbers.

    Raises:
        UserError: A package is missing, or an option is out of range.
    """
    if missing := [shown for name, shown in PACKAGES.items() if find_spec(name) is None]:
        raise UserError(f"ftlit drift needs {' and '.join(missing)}; install them with: pip install -e '.[insight]'")
    for name, value in given.items():
        if not NUMBERS[name].accepts(value):
            raise UserError(f"--{name} must be {NUMBERS[name]}, got {value!r}")


def text(found: Drift) -> str:
    """The tests and the sentences for the terminal."""
    table = tests_table(found)
    align = ["left" if i in table.words else "right" for i in range(len(table.columns))]
    grid = tabulate(table.rows, headers=table.columns, tablefmt="simple", colalign=align, disable_numparse=True)
    return "\n".join([grid, "", *sentences(found)])
