"""The accuracy to expect on rows without labels, and how far such estimates erred on shifts that are known.

No method can know the accuracy after a shift of any kind (Garg et al., 2022), so each estimate comes with its errors on rows
with labels that were shifted on purpose, and its interval covers these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS, NORMAL = 200, 1.96  # resamples; half the width of a 95% interval in standard deviations


@dataclass(frozen=True)
class Scored:
    """How sure the model is of the answers to some rows, and whether they are right.

    Args:
        confidence: Probability of each answer as the model says, ``(rows,)``.
        certainty: Negative entropy of its probabilities, ``(rows,)``.
        right: Whether each answer is right, ``(rows,)``; empty for rows without labels.
    """

    confidence: np.ndarray
    certainty: np.ndarray
    right: np.ndarray

    def __len__(self) -> int:
        return len(self.confidence)

    def __getitem__(self, places: np.ndarray) -> "Scored":
        right = self.right[places] if len(self.right) else self.right
        return Scored(self.confidence[places], self.certainty[places], right)

    @property
    def accuracy(self) -> float:
        """Share of the answers that are right."""
        return float(self.right.mean())


def scored(scores: np.ndarray, right: Sequence[bool], several: bool) -> Scored:
    """Rows by their scores.

    Args:
        scores: Probability of each label, ``(rows, labels)``.
        right: Whether each answer is right; empty for rows without labels.
        several: Whether a row may have any number of labels, each of which is then decided on its own.
    """
    logs = np.log(np.maximum(scores, 1e-12))
    if not several:
        return Scored(scores.max(1), (scores * logs).sum(1), np.array(right, dtype=bool))
    others = np.log(np.maximum(1 - scores, 1e-12))
    certainty = (scores * logs + (1 - scores) * others).sum(1)
    return Scored(np.maximum(scores, 1 - scores).prod(1), certainty, np.array(right, dtype=bool))


def thresholded(source: Scored, new: Scored) -> float:
    """The share of new rows above the certainty that as many known rows exceed as are right (ATC; Garg et al., 2022)."""
    ordered = np.sort(source.certainty)
    wrong = int((~source.right).sum())
    if wrong == len(source):
        return 0.0
    threshold = ordered[wrong]
    above, equal = (ordered > threshold).sum(), (ordered == threshold).sum()
    part = (source.right.sum() - above) / equal  # of the rows at the threshold, which may be many where certainty saturates
    return float((new.certainty > threshold).mean() + part * (new.certainty == threshold).mean())


def from_confidence(source: Scored, new: Scored) -> float:
    """The accuracy on known rows, plus the difference of the mean confidence (DoC; Guillory et al., 2021)."""
    return float(np.clip(source.accuracy + new.confidence.mean() - source.confidence.mean(), 0, 1))


METHODS: dict[str, Callable[[Scored, Scored], float]] = {"ATC": thresholded, "DoC": from_confidence}


@dataclass(frozen=True)
class KnownShift:
    """Rows with labels that were shifted on purpose, and the estimates of their accuracy from other rows with labels.

    Args:
        name: What was changed.
        rows: Number of rows.
        accuracy: The accuracy on them.
        estimates: The estimate of each method.
    """

    name: str
    rows: int
    accuracy: float
    estimates: dict[str, float]


def known_shift(name: str, source: Scored, shifted: Scored) -> KnownShift:
    """Estimate the accuracy on shifted rows whose labels are known."""
    estimates = {method: estimate(source, shifted) for method, estimate in METHODS.items()}
    return KnownShift(name, len(shifted), shifted.accuracy, estimates)


@dataclass(frozen=True)
class Estimate:
    """An estimate of the accuracy on the new rows.

    Args:
        method: Name of the method.
        value: The estimate.
        interval: Ends of the 95% interval: of the draw of the rows, and of the errors on known shifts.
        mean_error: Mean of the absolute errors on known shifts.
        largest_error: The largest of these.
    """

    method: str
    value: float
    interval: tuple[float, float]
    mean_error: float
    largest_error: float


def expected_accuracy(source: Scored, new: Scored, shifts: Sequence[KnownShift]) -> list[Estimate]:
    """Estimate the accuracy on new rows by each method.

    The variance behind an interval is that over resamples of the rows plus the mean squared error on known shifts.

    Args:
        source: Rows with labels.
        new: The new rows.
        shifts: Known shifts.
    """
    drawn = _resampled(source, new)
    found = []
    for method, estimate in METHODS.items():
        value, errors = estimate(source, new), np.array([shift.estimates[method] - shift.accuracy for shift in shifts])
        width = NORMAL * float(np.sqrt(drawn[method].var() + (errors**2).mean()))
        ends = max(value - width, 0.0), min(value + width, 1.0)
        found.append(Estimate(method, value, ends, float(np.abs(errors).mean()), float(np.abs(errors).max())))
    return found


def _resampled(source: Scored, new: Scored) -> Mapping[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pairs = [(_resample(source, rng), _resample(new, rng)) for _ in range(DRAWS)]
    return {method: np.array([estimate(*pair) for pair in pairs]) for method, estimate in METHODS.items()}


def _resample(rows: Scored, rng: np.random.Generator) -> Scored:
    return rows[rng.integers(len(rows), size=len(rows))]
