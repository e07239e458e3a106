"""The rows of an earlier run, in the columns and labels of other data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule

from ftlit.errors import UserError
from ftlit.runs.checkpoint import read_checkpoint
from ftlit.runs.opening import build
from ftlit.runs.reading import RunFolder
from ftlit.util.options import KEEP, options_of

if TYPE_CHECKING:
    from datasets import Dataset

    from ftlit.data.shared.base import TaskData

EARLIER = "earlier"  # begins the ids of rows of an earlier run
# What changes rows in training; what a run replayed stays, since it is part of what it learned from.
UNCHANGED = {
    name: option.exported for name, option in options_of("data").items() if option.exported is not KEEP and name != "replay"
}


def earlier_data(run: str, key: str, trust_remote_code: bool = False, **changes: Any) -> "TaskData":
    """Build the data module of an earlier run, without augmentation, noise and repeated rows.

    Args:
        run: Folder of the run.
        key: The option that names the run, for messages.
        trust_remote_code: Whether to run code that comes with the backbone.
        **changes: Other values of its options.

    Raises:
        UserError: The folder holds no finished run.
    """
    folder = RunFolder(Path(run).expanduser())
    if (checkpoint := folder.best_checkpoint) is None:
        raise UserError(f"{key} {run!r} holds no finished run; expected the folder of one")
    folder.check_schema()
    if not folder.finished:
        raise UserError(f"{key} {run!r} is a run that has not finished: run.json says {folder.status}; finish it with --resume")
    given = read_checkpoint(checkpoint).get("datamodule_hyper_parameters") or {}
    arguments = {name: UNCHANGED.get(name, value) for name, value in given.items()}
    return build(LightningDataModule, {**arguments, **changes}, checkpoint, trust_remote_code)


def earlier_rows(earlier: "TaskData", run: str, own: "TaskData", split: str, key: str) -> "Dataset":
    """Rows of a split of an earlier run, in the columns and with the labels of other data.

    Args:
        earlier: The data of the earlier run.
        run: Its folder, for messages.
        own: The data whose columns and labels the rows get.
        split: Name of the split.
        key: The option that names the run, for messages.

    Raises:
        UserError: The data are those of another task, have other columns, or labels that `own` does not know.
    """
    if type(earlier) is not type(own):
        raise UserError(
            f"{key} {run!r} was trained on {type(earlier).__name__}, and these data are {type(own).__name__}; choose a run of "
            "the same task"
        )
    if (one := getattr(earlier, "scheme", None)) != (other := getattr(own, "scheme", None)):
        raise UserError(f"{key} {run!r} has tags in the scheme {one}, and these data have {other}; set data.scheme to the same")
    theirs, ours = earlier.columns(), own.columns()
    if theirs.keys() != ours.keys():
        names = [f"data.{name}" for name in sorted(theirs.keys() ^ ours.keys())]
        raise UserError(f"{key} {run!r} and these data do not have the same columns: only one of them has {', '.join(names)}")
    _check_labels(earlier, run, own, key)
    earlier.require([split])
    rows = earlier.with_named_answers(earlier.rows[split]).select_columns(list(dict.fromkeys([*theirs.values(), "row_id"])))
    own_names = dict(zip(theirs.values(), ours.values(), strict=True))
    rows = rows.rename_columns({column: f"own_{i}" for i, column in enumerate(own_names)})
    rows = rows.rename_columns({f"own_{i}": column for i, column in enumerate(own_names.values())})
    return rows.remove_columns("row_id").add_column("row_id", [f"{EARLIER}:{row_id}" for row_id in rows["row_id"][:]])


def _check_labels(earlier: "TaskData", run: str, own: "TaskData", key: str) -> None:
    """Raise a `UserError` if the earlier run has labels that other data do not know."""
    known, labels = getattr(own, "label_names", []), getattr(earlier, "label_names", [])
    if unknown := [name for name in labels if name not in known]:
        every = [*labels, *(name for name in known if name not in labels)]
        raise UserError(
            f"{key} {run!r} has the label {unknown[0]!r}, which these data do not know; set data.label_names: {every}"
        )
