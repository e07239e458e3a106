"""The calibration of a run or of an exported folder, for those who predict with it."""

from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.metrics.calibration.applied import Calibration
from ftlit.runs.checkpoint import read_checkpoint, weights_digest
from ftlit.runs.exported import METADATA_FILE
from ftlit.runs.files import CALIBRATION
from ftlit.tasks import TaskModule
from ftlit.util.files import read_json
from ftlit.util.render.formats import listed

WEIGHTS, IN_FOLDER = "weights", "calibration"  # keys of calibration.json and ftlit.json
ANSWERS = ("labels", "relations", "choices")  # kinds of evidence with an answer a row, which may be withheld


def run_calibration(run: Path, checkpoint: Path) -> Calibration | None:
    """The calibration of a run, or None if it has not been calibrated.

    Args:
        run: Folder of the run.
        checkpoint: The checkpoint that predicts.

    Raises:
        UserError: The file is damaged, or was fitted for the weights of another checkpoint.
    """
    path = run / CALIBRATION
    if not (record := read_json(path)):
        return None
    if record.get(WEIGHTS) != weights_digest(read_checkpoint(checkpoint)["state_dict"]):
        raise UserError(
            f"{path} was fitted for other weights than those of {checkpoint}; fit it again with `python -m ftlit calibrate "
            f"--run {run} --overwrite`, remove it with `--remove`, or predict and export without it by `--calibrated false`"
        )
    return Calibration.of(record, path)


def exported_calibration(folder: Path) -> Calibration | None:
    """The calibration in an exported folder, or None if it has none.

    Raises:
        UserError: It is damaged.
    """
    path = folder / METADATA_FILE
    record = read_json(path).get(IN_FOLDER)
    return Calibration.of(record, path) if record else None


def check_abstaining(model: TaskModule, abstain_below: float | None) -> None:
    """Check that rows can be left without an answer.

    Raises:
        UserError: The number is out of range, or the task has no answer with a score for each row.
    """
    if abstain_below is None:
        return
    if not 0 < abstain_below <= 1:
        raise UserError(f"--abstain_below is a score, above 0 and at most 1; got {abstain_below!r}")
    if model.evidence not in ANSWERS:
        raise UserError(
            "--abstain_below is for tasks with one answer and its score for each row, such as TextClassification; the run is "
            f"of {type(model).__name__}"
        )


def prediction_types(model: TaskModule, calibration: Calibration | None) -> dict[str, Any]:
    """Types of the columns of predictions, as in `TaskModule.prediction_types`, with those that a calibration adds."""
    types = model.prediction_types()
    if calibration is None:
        return types
    label = int if model.evidence == "choices" else str
    sets = {"set": [label]} if calibration.set_above is not None else {}
    return {**types, **sets, **({"abstained": bool} if calibration.abstain_below is not None else {})}


def told_of_export(calibration: Calibration | None, folded: bool) -> str | None:
    """What the scores of an export are, as a sentence without its end; None without a calibration.

    Args:
        calibration: The calibration of the run.
        folded: Whether the weights of the export divide the logits by its temperature.
    """
    if calibration is None:
        return None
    temperature = calibration.scores.temperature
    others = {
        f"the temperature {temperature:.4g} of the scores": temperature != 1 and not folded,
        "the isotonic map of the scores": calibration.scores.points is not None,
        "the thresholds of the labels": calibration.thresholds is not None,
        "the score below which a row gets no answer": calibration.abstain_below is not None,
        "the sets of labels": calibration.set_above is not None,
    }
    kept = [name for name, held in others.items() if held]
    divided = f"the weights divide the logits by the temperature {temperature:.4g}, which was fitted on validation"
    beside = f"{listed(kept)} {'is' if len(kept) == 1 else 'are'} in {METADATA_FILE}, which ftlit alone follows"
    parts = [*([divided] if folded else []), *([beside] if kept else [])]
    return "; ".join(parts) or None
