"""The command that calibrates a run."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from ftlit.errors import UserError
from ftlit.exports.export import check_finished, check_names_of
from ftlit.exports.predict import load
from ftlit.exports.predicting.calibrated import ANSWERS, WEIGHTS
from ftlit.exports.predicting.predictor import Predictor
from ftlit.insight.calibration.fit import Method, Wishes, fitted
from ftlit.insight.calibration.outcome import columns, outcome
from ftlit.insight.calibration.report import Fitted, document, sentences
from ftlit.insight.calibration.rows import answered_rows
from ftlit.insight.report import report_folder, write_report
from ftlit.metrics.evidence import METRIC_SETTINGS
from ftlit.runs.checkpoint import find_checkpoint, read_checkpoint, step_of, weights_digest
from ftlit.runs.files import CALIBRATION, INSIGHT
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import now
from ftlit.util.arguments.ranges import FRACTION, INSIDE, PROBABILITY
from ftlit.util.files import write_json
from ftlit.util.startup import quiet

if TYPE_CHECKING:
    from pandas import DataFrame

NAME = "calibration"  # of the report
NUMBERS = {"coverage": INSIDE, "answer_share": PROBABILITY, "max_error": FRACTION}
PACKAGES = {"scipy": "SciPy", "sklearn": "scikit-learn"}


def calibrate(
    run: str,
    method: Method = "temperature",
    thresholds: Literal["f1"] | None = None,
    coverage: float | None = None,
    answer_share: float | None = None,
    max_error: float | None = None,
    output: str | None = None,
    overwrite: bool = False,
    remove: bool = False,
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> "DataFrame":
    """Make the scores of a run probabilities: fit a map of them on validation, and show on test what it does.

    `predict`, `serve` and `export` use what is fitted. Labels stay as they are, unless `thresholds` are given.

    Args:
        run: Folder of the run.
        method: `temperature` divides the logits by a number, `isotonic` fits a rising function of the score, and `none` leaves
            the scores.
        thresholds: `f1` gives each label of a task with several labels a row the threshold with the best F1 on validation.
        coverage: Share of rows, such as 0.9, whose `set` of labels shall have the right one. Predictions get this set.
        answer_share: Share of rows that get an answer; the others, with the lowest scores, get null and `abstained: true`.
        max_error: Share of the answers on validation that may be wrong; rows with lower scores get no answer.
        output: Folder of the report. Defaults to insight/calibration in the folder of the run.
        overwrite: Whether to replace an earlier calibration.
        remove: Whether to remove the calibration of the run, and do nothing else.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the model. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Returns:
        The measures before and after, with the 95% interval of their difference, in the columns `of`, `measure`, `before`,
        `after`, `difference`, `low` and `high`.

    Raises:
        UserError: The run is not finished, has no scores, or is calibrated already; or an option is wrong.
    """
    quiet()
    folder = Path(run).expanduser()
    finished = RunFolder(folder)
    finished.check()
    wishes = Wishes(method, thresholds, coverage, answer_share, max_error)
    if remove:
        return _removed(folder)
    check_finished(folder)
    _check(finished, wishes, overwrite)
    path = find_checkpoint(folder)
    check_names_of(path, trust_classes)
    found = _calibrated(finished, wishes, load(folder, "best", device, trust_remote_code, trust_classes, calibrated=False))
    with report_folder(folder, NAME, output, overwrite) as place:
        write_report(place, NAME, document(found), found.record)
        write_json(folder / CALIBRATION, _record(finished, found, path))
    _print(found)
    return _frame(found)


def _removed(folder: Path) -> "DataFrame":
    path = folder / CALIBRATION
    if not path.is_file():
        raise UserError(f"--remove: {folder} has no {CALIBRATION}")
    path.unlink()
    shutil.rmtree(folder / INSIGHT / NAME, ignore_errors=True)
    print(f"removed {path}; the run predicts as before")
    from pandas import DataFrame

    return DataFrame(columns(()))


def _check(run: RunFolder, wishes: Wishes, overwrite: bool) -> None:
    """Check the options before anything is loaded.

    Raises:
        UserError: One is wrong, or does not fit the task.
    """
    for name, range in NUMBERS.items():
        value = getattr(wishes, name)
        if value is not None and not range.accepts(value):
            raise UserError(f"--{name} must be {range}, got {value!r}")
    if wishes.answer_share is not None and wishes.max_error is not None:
        raise UserError("--answer_share and --max_error both say which rows get no answer; set only one of them")
    kind, task = run.record.get("evidence"), run.record.get("task")
    if kind not in (*ANSWERS, "tags"):
        raise UserError(f"calibrate is for tasks with labels and their scores; {run.folder} is a run of {task}")
    asked = [name for name in NUMBERS if getattr(wishes, name) is not None]
    if kind == "tags" and asked:
        raise UserError(f"--{asked[0]} is for tasks with one answer a row; {run.folder} is a run of {task}, which labels words")
    if wishes == Wishes("none"):
        raise UserError("--method none fits nothing; add --thresholds, --coverage, --answer_share or --max_error")
    if (run.folder / CALIBRATION).is_file() and not overwrite:
        raise UserError(f"{run.folder} is calibrated; replace its {CALIBRATION} with --overwrite, or remove it with --remove")
    if missing := [name for module, name in PACKAGES.items() if find_spec(module) is None]:
        raise UserError(f"ftlit calibrate needs {' and '.join(missing)}; install it with: pip install -e '.[insight]'")


def _calibrated(run: RunFolder, wishes: Wishes, predictor: Predictor) -> Fitted:
    """Fit on validation; after that, look at test if the run was evaluated on it."""
    kind = str(run.record["evidence"])
    several = bool(getattr(predictor.model, "multi_label", False))
    if wishes.coverage is not None and several:
        raise UserError("--coverage is for tasks with one right label a row, and rows of this run have several")
    if wishes.thresholds is not None and not several:
        raise UserError("--thresholds is for several labels a row (model.multi_label: true); others get the likeliest label")
    rows = answered_rows(run, predictor, "validation")
    fit = fitted(kind, rows, wishes)
    split = "test" if "test" in run.results else "validation"
    shown = answered_rows(run, predictor, split) if split == "test" else rows
    settings = {key: predictor.model.hparams.get(key) for key in METRIC_SETTINGS}
    found = outcome(kind, shown, fit.calibration, split, settings)
    return Fitted(run.folder.resolve().name, str(run.record["task"]), wishes, fit, len(rows), found)


def _record(run: RunFolder, found: Fitted, checkpoint: Path) -> dict[str, Any]:
    """The content of calibration.json."""
    known = run.record.get("data", {}).get("splits", {}).get("validation", {})
    return {
        **found.calibration.record,
        "wishes": vars(found.wishes),
        WEIGHTS: weights_digest(read_checkpoint(checkpoint)["state_dict"]),
        "step": step_of(checkpoint),
        "fitted_on": {"split": "validation", "rows": found.rows, "fingerprint": known.get("fingerprint")},
        "made": now(),
    }


def _frame(found: Fitted) -> "DataFrame":
    from pandas import DataFrame

    return DataFrame(columns(found.outcome.changes))


def _print(found: Fitted) -> None:
    print("\n" + "\n".join(sentences(found)))
    print("\n" + tabulate(columns(found.outcome.changes), headers="keys", floatfmt=".4f", tablefmt="simple"))
