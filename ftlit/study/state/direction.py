"""Whether lower values of a study's metric are better, without loading its task."""

from ftlit.metrics.direction import lower_is_better
from ftlit.runs.reading import RunFolder
from ftlit.study.plan.settings import Study
from ftlit.study.state.folder import Folder

STUDY_KEY = "set compare.higher_is_better in the study's file"


def study_lower_is_better(study: Study, folder: Folder) -> bool:
    """Whether lower values of the compared metric are better.

    The study's file decides, then the run records of its cells, in which the task has written it down, and before any cell
    has started the names of ftlit's own metrics.

    Raises:
        UserError: Nothing says it.
    """
    metric = study.compare.primary
    declared = recorded_directions(folder, metric)
    if study.compare.higher_is_better is not None:
        declared = {metric: study.compare.higher_is_better}
    return lower_is_better(metric, declared=declared, key=STUDY_KEY)


def recorded_directions(folder: Folder, metric: str) -> dict[str, bool]:
    """Whether higher values are better, by metric, from a run record of the study that knows the given metric."""
    for run_dir in sorted((folder.path / "cells").glob("*/")):
        known = RunFolder(run_dir).record.get("higher_is_better") or {}
        if metric in known:
            return dict(known)
    return {}
