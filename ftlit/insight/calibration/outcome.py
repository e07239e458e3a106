"""What a calibration does to predictions: measures before and after, metrics, and how its promises are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ftlit.metrics.calibration.applied import ABSTAINED, SET, Calibration
from ftlit.metrics.calibration.decisions import Decisions, decisions
from ftlit.metrics.calibration.measures import MEASURES, Ends, Measured, measured
from ftlit.metrics.evidence.intervals import documents
from ftlit.metrics.evidence.kinds import EVIDENCE_KINDS
from ftlit.metrics.evidence.paired import paired_interval
from ftlit.metrics.evidence.rows import Rows

METRICS = ("accuracy", "f1_macro", "f1_micro")  # which thresholds change


class Change(NamedTuple):
    """A number before and after.

    Attributes:
        of: The sort of decision, or `rows`.
        name: Name of the number.
        before: Its value before.
        after: Its value after.
        interval: The 95% interval of the difference; None if it is not known.
        ends: The intervals of both values; None where they are not known.
    """

    of: str
    name: str
    before: float
    after: float
    interval: Ends | None
    ends: tuple[Ends, Ends] | None = None


class Share(NamedTuple):
    """A share of rows with its 95% interval (Wilson, 1927)."""

    hits: int
    total: int
    interval: Ends

    @property
    def value(self) -> float | None:
        """The share; None of no rows."""
        return self.hits / self.total if self.total else None


class Sets(NamedTuple):
    """Sets of labels.

    Attributes:
        coverage: How often the right label is in the set.
        sizes: Number of sets by their size.
    """

    coverage: Share
    sizes: dict[int, int]


class Withheld(NamedTuple):
    """Answers, some of which are withheld.

    Attributes:
        answered: The share of rows with an answer.
        wrong: The share of wrong ones among the answers.
        all_wrong: The same if all rows were answered.
    """

    answered: Share
    wrong: Share
    all_wrong: Share


@dataclass(frozen=True)
class Outcome:
    """What a calibration does on a split.

    Attributes:
        split: The split.
        rows: Number of rows.
        before: The decisions without it.
        after: The decisions with it, of the same sorts.
        changes: Measures of calibration, and the metrics that thresholds change.
        withheld: What is answered, if rows may have no answer.
        sets: The sets of labels, if there are any.
    """

    split: str
    rows: int
    before: list[Decisions]
    after: list[Decisions]
    changes: list[Change]
    withheld: Withheld | None
    sets: Sets | None


def outcome(kind: str, rows: Rows, calibration: Calibration, split: str, settings: Mapping[str, Any]) -> Outcome:
    """Compare predictions with and without a calibration.

    Args:
        kind: Kind of evidence that the predictions are.
        rows: Predictions with labels and the scores of all labels, without the calibration.
        calibration: The calibration.
        split: The split.
        settings: The task's ``init_args``, which decide what metrics count.
    """
    whole = calibration([*rows])
    answered = replace(calibration, abstain_below=None)([*rows])
    before, after = decisions(kind, rows), decisions(kind, answered)
    changes = [change for pair in zip(before, after, strict=True) for change in _changes(*pair, rows)]
    if calibration.thresholds is not None:
        changes += [found for name in METRICS if (found := _metric(kind, name, rows, answered, settings))]
    withheld = _withheld(after[0], whole) if calibration.abstain_below is not None else None
    sets = _sets(whole, after[0]) if calibration.set_above is not None else None
    return Outcome(split, len(rows), before, after, changes, withheld, sets)


def _changes(before: Decisions, after: Decisions, rows: Rows) -> list[Change]:
    together = documents(rows)
    one, other = measured(before, together), measured(after, together)
    return [_change(before.of, name, one, other) for name in MEASURES if name in one.values]


def _change(of: str, name: str, one: Measured, other: Measured) -> Change:
    _, interval = one.difference(name, other)
    return Change(of, name, one.values[name], other.values[name], interval, (one.interval(name), other.interval(name)))


def _metric(kind: str, name: str, rows: Rows, after: Rows, settings: Mapping[str, Any]) -> Change | None:
    sums = EVIDENCE_KINDS[kind].count(name, [rows, after], settings)
    if sums is None:
        return None
    old, new = (float(sums.score(counts.sum(0))) for counts in sums.counts)
    return Change("rows", name, old, new, paired_interval(kind, name, rows, after, settings))


def _withheld(found: Decisions, rows: Rows) -> Withheld:
    given = np.array([not row[ABSTAINED] for row in rows])
    wrong = ~found.answers.true
    return Withheld(_share(given), _share(wrong[given]), _share(wrong))


def _sets(rows: Rows, found: Decisions) -> Sets:
    assert found.whole is not None
    names = found.whole.names
    right = found.whole.true.argmax(1).tolist()
    hits = np.array([(names[place] if names else place) in row[SET] for place, row in zip(right, rows, strict=True)])
    sizes, counts = np.unique([len(row[SET]) for row in rows], return_counts=True)
    return Sets(_share(hits), dict(zip(sizes.tolist(), counts.tolist(), strict=True)))


def _share(hits: np.ndarray) -> Share:
    from scipy.stats import binomtest

    if not len(hits):
        return Share(0, 0, (0.0, 1.0))
    ends = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, "wilson")
    return Share(int(hits.sum()), len(hits), (float(ends.low), float(ends.high)))


def columns(changes: Sequence[Change]) -> dict[str, list[Any]]:
    """Changes as the columns of a data frame."""
    found = [(*one[:4], one.after - one.before, *(one.interval or (None, None))) for one in changes]
    names = ("of", "measure", "before", "after", "difference", "low", "high")
    return {name: [row[i] for row in found] for i, name in enumerate(names)}
