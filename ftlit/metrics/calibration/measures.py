"""Measures of calibration with 95% intervals by the bootstrap over rows, or over documents where the rows name theirs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ftlit.metrics.calibration.decisions import Decisions, decisions
from ftlit.metrics.calibration.errors import bins_of, calibration_errors, reliability
from ftlit.metrics.calibration.selection import area, risk_coverage
from ftlit.metrics.evidence.intervals import DRAWS, LEVEL, documents, resamples
from ftlit.metrics.evidence.rows import Rows

WORK, FEWEST = 1_500_000, 100  # decisions in all draws, about; draws
SHOWN = 20  # points of a risk-coverage curve in a report
MEASURES = {
    "ece": "expected calibration error, without what chance adds",
    "ece_plain": "expected calibration error as it is usually computed",
    "brier": "Brier score",
    "nll": "negative log likelihood",
    "aurc": "area under the risk-coverage curve",
}
Ends = tuple[float, float]


class Measured(NamedTuple):
    """The measures of decisions.

    Attributes:
        values: The measures by the names in `MEASURES`, as far as they are known.
        draws: Each measure in each resample, ``(draws,)``.
    """

    values: dict[str, float]
    draws: dict[str, np.ndarray]

    def interval(self, name: str) -> Ends:
        """The interval of a measure, none of which is below 0."""
        low, high = around(self.values[name], self.draws[name])
        return max(low, 0.0), high

    def difference(self, name: str, other: "Measured") -> tuple[float, Ends]:
        """A measure of others, on the same rows, minus this one, with the interval of the difference."""
        value = other.values[name] - self.values[name]
        return value, around(value, other.draws[name] - self.draws[name])


def around(value: float, draws: np.ndarray) -> Ends:
    """The interval of a value: the middle of the draws about their mean.

    Resamples vary more than the rows that they are drawn from, so calibration errors are on average larger in them; their mean
    tells by how much.
    """
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2]) - draws.mean()
    return float(value + low), float(value + high)


def measured(found: Decisions, drawn_together: tuple[np.ndarray, int]) -> Measured:
    """The measures of decisions about rows.

    Args:
        found: The decisions.
        drawn_together: The number of each row's document, and how many there are, from `documents`.
    """
    groups, count = drawn_together
    measures = _measures(found, groups, count)
    values = {name: float(of[0]) for name, of in measures(np.ones((1, count))).items()}
    draws = min(DRAWS, max(FEWEST, WORK // len(found.answers.true)))
    drawn = [measures(weights) for weights in resamples(count, draws)]
    values["ece"] = max(values["ece"], 0.0)
    return Measured(values, {name: np.concatenate([some[name] for some in drawn]) for name in values})


def _measures(found: Decisions, groups: np.ndarray, count: int) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from weights of documents, ``(draws, documents)``, to the measures, ``(draws,)`` each."""
    stated, whole = found.stated, found.whole
    bins, owner = bins_of(stated.probability), groups[stated.owner]
    cells = owner * bins.number + bins.place
    parts = [_sums(cells, values, (count, bins.number)) for values in (None, stated.probability, stated.true)]
    if whole is not None:
        units = groups[whole.owner]
        parts += [_sums(units, values, (count, 1)) for values in (None, whole.brier, whole.nll)]
    sums = np.concatenate(parts, 1)
    answers = found.answers._replace(owner=groups[found.answers.owner])
    areas = area(answers)

    def of(weights: np.ndarray) -> dict[str, np.ndarray]:
        cut = np.split(weights @ sums, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1)
        ece, plain = calibration_errors(cut[0], cut[1], cut[2])
        more = dict(zip(("brier", "nll"), (part[:, 0] / cut[3][:, 0] for part in cut[4:]), strict=False)) if cut[3:] else {}
        return {"ece": ece, "ece_plain": plain, **more, "aurc": areas(weights)}

    return of


def _sums(cells: np.ndarray, values: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Sums of values by cell, or numbers of them, as an array of this shape."""
    return np.bincount(cells, values, shape[0] * shape[1]).reshape(shape).astype(float)


def calibration_report(kind: str | None, rows: Rows) -> list[dict[str, Any]]:
    """What an evaluation says of calibration: an entry for each sort of decision, such as words and entities.

    Args:
        kind: Kind of evidence, as the run record names it.
        rows: The predictions of a split with their labels.
    """
    groups, count = documents(rows)
    known = [found for found in decisions(kind, rows) if np.isfinite(found.stated.probability).all()]
    return [_entry(found, groups, count) for found in known] if count > 1 else []


def _entry(found: Decisions, groups: np.ndarray, count: int) -> dict[str, Any]:
    numbers, diagram, curve = measured(found, (groups, count)), reliability(found.stated), risk_coverage(found.answers)
    step = max(1, len(curve.risk) // SHOWN)
    return {
        "of": found.of,
        "count": len(found.stated.true),
        **{name: {"value": value, "interval": list(numbers.interval(name))} for name, value in numbers.values.items()},
        "reliability": _lists(stated=diagram.stated, true=diagram.true, count=diagram.size),
        "risk_coverage": _lists(coverage=curve.coverage[step - 1 :: step], risk=curve.risk[step - 1 :: step]),
    }


def _lists(**columns: np.ndarray) -> dict[str, Sequence[float]]:
    return {name: values.tolist() for name, values in columns.items()}
