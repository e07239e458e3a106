"""Whether runs can be compared: finished, of the same task, evaluated on the same split, and counted in the same way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.exports.run import Run
from ftlit.metrics.evidence import METRIC_SETTINGS

EVALUATED_SPLITS = ("test", "validation")


def model_settings(run: Run) -> dict[str, Any]:
    """The ``init_args`` of a run's task."""
    return (run.config.get("model") or {}).get("init_args") or {}


def evidence_kind(run: Run) -> str | None:
    """The kind of evidence that the predictions of a run are."""
    return run.record.get("evidence")


def check_given_once(runs: Sequence[Run]) -> None:
    """Check that no folder is given twice.

    Raises:
        UserError: One is.
    """
    seen = set[Path]()
    for run in runs:
        if (place := run.folder.resolve()) in seen:
            raise UserError(f"{run.folder} is given twice; expected the folders of different runs")
        seen.add(place)


def unfinished(run: Run) -> str:
    """Why the metrics of a run that is not finished are not compared, as a sentence without its full stop."""
    why = f" ({error})" if (error := run.record.get("error")) else ""
    return f"{run.folder} is not finished, so no metrics are compared: its status is {run.status or 'not recorded'}{why}"


def different_tasks(a: Run, b: Run) -> str | None:
    """That the metrics of two runs mean different things, as a clause; None if they are comparable.

    A task and its subclasses are comparable, since their predictions are the same kind of evidence.
    """
    tasks = [str(run.record.get("task")) for run in (a, b)]
    if tasks[0] == tasks[1] or (evidence_kind(a) is not None and evidence_kind(a) == evidence_kind(b)):
        return None
    return f"The tasks differ ({tasks[0]} and {tasks[1]})"


def check_same_counting(runs: Sequence[Run]) -> None:
    """Check that a metric counts the same things in all runs.

    Raises:
        UserError: A setting of the task differs that decides what metrics count.
    """
    for key in METRIC_SETTINGS:
        if any(model_settings(run).get(key) != model_settings(runs[0]).get(key) for run in runs[1:]):
            raise UserError(f"model.{key} differs, so the metrics do not count the same things")


def common_split(runs: Sequence[Run], wanted: str | None) -> str:
    """The split whose metrics are compared: the given one, else test if all runs have it, else validation.

    Raises:
        UserError: One of the runs has no results for it.
    """
    if wanted:
        lacking = next((run for run in runs if wanted not in run.results), None)
        if lacking is None:
            return wanted
        raise UserError(f"{lacking.folder} has no results for {wanted}; {lacking.evaluation_command(wanted)} computes them")
    for split in EVALUATED_SPLITS:
        if all(split in run.results for run in runs):
            return split
    one = runs[0]
    other = next((run for run in runs if not set(_evaluated(run)) & set(_evaluated(one))), runs[-1])
    has = [", ".join(_evaluated(run)) or "no split" for run in (one, other)]
    raise UserError(
        f"{one.folder} has results for {has[0]} and {other.folder} for {has[1]}, so the runs have no split in common; "
        f"{one.evaluation_command('validation')}, and the same for the others, computes results for validation"
    )


def _evaluated(run: Run) -> list[str]:
    return [split for split in EVALUATED_SPLITS if split in run.results]
