"""Fit a calibration to the predictions of validation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ftlit.errors import UserError
from ftlit.metrics.calibration.applied import Calibration
from ftlit.metrics.calibration.decisions import Decisions, Probabilities, Stated, decisions
from ftlit.metrics.calibration.maps import ScoreMap
from ftlit.metrics.calibration.selection import surest_first
from ftlit.metrics.evidence.intervals import documents
from ftlit.metrics.evidence.rows import Rows

Method = Literal["temperature", "isotonic", "none"]
LOWEST, HIGHEST = 0.02, 50.0  # temperature
DEFAULT_THRESHOLD = 0.5
LEEWAY = 1 - 1e-5  # of limits that are scores of rows, so that the rounding of an export does not decide about these rows
STEP = 1e-3  # of the logarithm of a temperature, in derivatives


@dataclass(frozen=True)
class Wishes:
    """What is to be fitted.

    Args:
        method: How scores are mapped.
        thresholds: `f1` for the thresholds of several labels a row with the best F1; None for none.
        coverage: Share of rows whose set of labels has the right one; None for no sets.
        answer_share: Share of rows that get an answer; None for another rule, or for all.
        max_error: Share of wrong ones among the answers; None as above.
    """

    method: Method = "temperature"
    thresholds: Literal["f1"] | None = None
    coverage: float | None = None
    answer_share: float | None = None
    max_error: float | None = None


class Fit(NamedTuple):
    """What was fitted.

    Attributes:
        calibration: The calibration.
        temperature: The 95% interval of its temperature, if that was fitted.
    """

    calibration: Calibration
    temperature: tuple[float, float] | None


def fitted(kind: str, rows: Rows, wishes: Wishes) -> Fit:
    """Fit a calibration.

    Args:
        kind: Kind of evidence that the predictions are.
        rows: Predictions of validation with labels and the scores of all labels.
        wishes: What is to be fitted.

    Raises:
        UserError: The rows do not tell.
    """
    known = known_probabilities(kind, rows)
    calibration, interval = Calibration(fit_map(known, wishes.method)), None
    if wishes.method == "temperature":
        interval = temperature_interval(known, documents(rows)[0], calibration.scores.temperature)
    if wishes.thresholds is not None:
        mapped = known.with_values(calibration.scores(known.values, known.several))
        calibration = replace(calibration, thresholds=f1_thresholds(mapped))
    if wishes.coverage is not None:
        calibration = replace(calibration, set_above=set_limit(known.right, wishes.coverage))
    if wishes.answer_share is not None or wishes.max_error is not None:
        [found, *_] = decisions(kind, calibration([*rows]))
        limit = answer_limit(found.answers, wishes.answer_share, wishes.max_error)
        calibration = replace(calibration, abstain_below=limit)
    return Fit(calibration, interval)


def known_probabilities(kind: str, rows: Rows) -> Probabilities:
    """The probabilities of all labels.

    Raises:
        UserError: The predictions do not have them.
    """
    found: list[Decisions] = decisions(kind, rows)
    whole = next((one.whole for one in found if one.whole is not None), None)
    if whole is None:
        raise UserError("the predictions of the run have no scores of all labels, which a calibration is fitted to")
    return whole


# Maps


def fit_map(known: Probabilities, method: Method) -> ScoreMap:
    """Fit the map of the scores.

    Args:
        known: Probabilities of validation, with what is right.
        method: `temperature`, `isotonic` or `none`.

    Raises:
        UserError: Nothing is wrong in validation, so that the best temperature would be 0.
    """
    if method == "none":
        return ScoreMap()
    return ScoreMap(temperature=fit_temperature(known)) if method == "temperature" else ScoreMap(points=fit_isotonic(known))


def fit_temperature(known: Probabilities) -> float:
    """The temperature with the smallest negative log likelihood.

    Raises:
        UserError: There is none: all is right, and the likelihood grows without an end as the temperature falls.
    """
    from scipy.optimize import minimize_scalar

    said = known.values > DEFAULT_THRESHOLD if known.several else known.values == known.values.max(1, keepdims=True)
    if not (said != known.true).any():
        raise UserError(
            "every answer on validation is right, so a temperature cannot be fitted: the smallest would be the best; use more "
            "rows of validation, or --method none"
        )

    def loss(logarithm: float) -> float:
        mapped = ScoreMap(temperature=math.exp(logarithm))(known.values, known.several)
        return float(known.with_values(mapped).nll.mean())

    found = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def temperature_interval(known: Probabilities, groups: np.ndarray, temperature: float) -> tuple[float, float]:
    """The 95% interval of a fitted temperature, whose logarithm is about normal (the sandwich estimator of White, 1982).

    Args:
        known: Probabilities to which it was fitted.
        groups: Number of the document of each row.
        temperature: The temperature.
    """
    below, at, above = (
        known.with_values(ScoreMap(temperature=temperature * math.exp(step))(known.values, known.several)).nll
        for step in (-STEP, 0.0, STEP)
    )
    slopes = np.bincount(groups[known.owner], (above - below) / (2 * STEP))
    curvature = float((above + below - 2 * at).sum()) / STEP**2
    error = math.sqrt(float((slopes**2).sum())) / curvature if curvature > 0 else math.inf
    width = min(1.96 * error, math.log(HIGHEST / LOWEST))
    return temperature * math.exp(-width), temperature * math.exp(width)


def fit_isotonic(known: Probabilities) -> tuple[list[float], list[float]]:
    """The rising function of a probability that is closest to whether the class is right, over all classes together.

    Returns:
        Probabilities and the values of the function at them, which are joined by lines.
    """
    from sklearn.isotonic import IsotonicRegression

    there = known.values > 0
    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(known.values[there], known.true[there])
    return fit.X_thresholds_.tolist(), fit.y_thresholds_.tolist()


# Rules


def f1_thresholds(known: Probabilities) -> Mapping[str, float]:
    """The threshold of each label with the best F1, halfway between two scores; 0.5 for a label that never occurs."""
    assert known.names is not None
    return {name: _f1_threshold(known.values[:, i], known.true[:, i]) for i, name in enumerate(known.names)}


def _f1_threshold(scores: np.ndarray, true: np.ndarray) -> float:
    if not true.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(true[order]), scores[order]
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + true.sum())
    ends = np.append(ranked[1:] < ranked[:-1], True)  # equal scores are on the same side
    best = int(np.argmax(np.where(ends, f1, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def set_limit(right: np.ndarray, coverage: float) -> float:
    """The score from which on labels belong to the set, so that the right one does with a probability of at least `coverage`.

    That is split conformal prediction with the score of the least ambiguous set-valued classifier (Sadinle et al., 2019). It
    holds for new rows that are drawn like these, whatever the model.

    Args:
        right: Score of the right label of each row, ``(rows,)``.
        coverage: The promised share.
    """
    rank = math.ceil((len(right) + 1) * coverage)
    return float(np.sort(right)[::-1][rank - 1]) * LEEWAY if rank <= len(right) else 0.0


def answer_limit(answers: Stated, share: float | None, max_error: float | None) -> float:
    """The score below which rows get no answer.

    Args:
        answers: The answers of validation.
        share: Share of rows that get an answer, at least.
        max_error: Share of wrong ones among the answers, at most.

    Raises:
        UserError: Even the surest answers are wrong more often.
    """
    ranked = surest_first(answers.probability)
    scores, wrong = answers.probability[ranked], np.cumsum(~answers.true[ranked])
    given = np.arange(1, len(scores) + 1)
    ends = np.append(scores[1:] < scores[:-1], True)
    fits = given >= math.ceil(share * len(scores) - 1e-9) if share is not None else wrong <= (max_error or 0.0) * given
    places = np.flatnonzero(ends & fits)
    if not len(places):
        best = float((wrong / given)[ends].min())
        raise UserError(
            f"--max_error {max_error:g} cannot be met: on validation, a share of {best:.3g} of the surest answers is wrong"
        )
    return float(scores[places[0] if share is not None else places[-1]]) * LEEWAY
