"""How wrong each prediction is, for every kind of evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ftlit.errors import UserError
from ftlit.metrics.evidence import EVIDENCE_KINDS, METRIC_SETTINGS, why_no_evidence
from ftlit.metrics.evidence.kinds import CountExamples, IsRight
from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import mean_score
from ftlit.runs.reading import RunFolder

Losses = Callable[[Rows], np.ndarray]


@dataclass(frozen=True)
class Measure:
    """How wrong a prediction is.

    Args:
        name: What is averaged over the examples of a slice, such as ``error rate``.
        losses: Computes the loss of each row, ``(rows,)``. Higher is worse.
        binary: Whether a prediction is right (0) or wrong (1).
        sign: -1 if ``name`` is a score of which higher is better, so that its loss is the negative score.
    """

    name: str
    losses: Losses
    binary: bool = False
    sign: int = 1


def measure_of(run: RunFolder, split: str, rows: Rows) -> Measure:
    """The measure of a run's predictions.

    Args:
        run: The run.
        split: The split.
        rows: Some of the predictions.

    Raises:
        UserError: The predictions say nothing about single examples.
    """
    kind, task = run.record.get("evidence"), run.record.get("task", "?")
    if (reason := why_no_evidence(task, kind)) is not None:
        raise UserError(f"{run.folder}: {reason}, so it is not known which of its predictions are wrong")
    evidence = EVIDENCE_KINDS[kind]  # type: ignore[index]
    if evidence.is_right is not None:
        return Measure("error rate", partial(_wrong, evidence.is_right), binary=True)
    if kind == "values":
        return Measure("absolute error", _distance)
    settings = {key: value for key, value in _task_options(run).items() if key in METRIC_SETTINGS}
    higher = run.record.get("higher_is_better") or {}
    for metric in _candidates(run, split):
        if evidence.count(metric, [rows], settings) is None:
            continue
        if metric == "perplexity":
            return Measure("negative log-likelihood", partial(_per_token, evidence.count, settings))
        sign = -1 if higher.get(metric, True) else 1
        return Measure(metric, partial(_scores, evidence.count, settings, metric, sign), sign=sign)
    raise UserError(f"{run.folder}: its metrics of {split}, {', '.join(run.results.get(split, {}))}, have no value per example")


def _task_options(run: RunFolder) -> dict[str, Any]:
    return (run.config.get("model") or {}).get("init_args") or {}


def _candidates(run: RunFolder, split: str) -> Sequence[str]:
    """The metrics of a split, beginning with the one that chose the checkpoint, and at last one that any text has."""
    monitored = str(run.record.get("monitor")).removeprefix("val/")
    return list(dict.fromkeys([monitored, *run.results.get(split, {}), "chrf"]))


def _wrong(is_right: IsRight, rows: Rows) -> np.ndarray:
    return np.array([not is_right(row) for row in rows], dtype=float)


def _distance(rows: Rows) -> np.ndarray:
    return np.array([abs(float(row["prediction"]) - float(row["label"])) for row in rows])


def _per_token(count: CountExamples, settings: Mapping[str, Any], rows: Rows) -> np.ndarray:
    sums = count("perplexity", [rows], settings)
    assert sums is not None
    return mean_score(sums.counts[0])


def _scores(count: CountExamples, settings: Mapping[str, Any], metric: str, sign: int, rows: Rows) -> np.ndarray:
    sums = count(metric, [rows], settings)
    assert sums is not None
    return sign * np.asarray(sums.score(sums.counts[0].astype(float)), dtype=float)
