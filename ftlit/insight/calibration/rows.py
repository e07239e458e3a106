"""The predictions of a run for a split with its labels, as `ftlit predict` makes them."""

from typing import Any

from ftlit.data.rows.columns import every_row
from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.metrics.evidence.rows import Rows
from ftlit.runs.reading import RunFolder


def answered_rows(run: RunFolder, predictor: Predictor, split: str) -> Rows:
    """Predict for a split with the scores of all labels.

    Args:
        run: The run.
        predictor: Its model, without a calibration.
        split: `validation` or `test`.

    Raises:
        UserError: The rows cannot be read, or are others than those of the run.
    """
    data: Any = predictor.data
    data.group = run.config.get("data", {}).get("init_args", {}).get("group")  # which a checkpoint's own data leave out
    try:
        data.require([split])
        rows = data.rows[split]
    except (UserError, OSError, ValueError) as error:
        raise UserError(f"the rows of {split} cannot be read ({error}); restore the data at data.dataset") from error
    known = run.record.get("data", {}).get("splits", {}).get(split, {}).get("fingerprint")
    if known and known != data.fingerprints[split]:
        raise UserError(f"the rows of {split} are others than those of {run.folder}: the data at data.dataset have changed")
    found = predictor(every_row(rows), scores=True)
    return [{**data.record_at(split, i), **row, "id": rows[i]["row_id"]} for i, row in enumerate(found)]
