"""The metric of groups of rows, each compared with all other rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ftlit.errors import UserError, near
from ftlit.insight.audit.settings import Groups
from ftlit.insight.audit.statistics import UNKNOWN, Ends, difference, normal_ends, resampled, share
from ftlit.insight.audit.subject import Subject
from ftlit.metrics.evidence import EVIDENCE_KINDS
from ftlit.metrics.evidence.intervals import documents
from ftlit.metrics.evidence.scores import Sums

GROUPS = ["column", "group", "rows", "metric", "value", "low", "high", "gap", "gap_low", "gap_high", "verdict"]
WORSE, BETTER, OPEN, FEW = "worse", "better", "open", "few rows"
Numbers = tuple[float, float, float]  # a value and the ends of its interval
MISSING = "(none)"  # the group of rows without a value
RANGES = 4  # into which numbers are cut
MOST_VALUES, MOST_GROUPS = 12, 100  # different numbers that are groups of their own, and groups of a column


def group_metrics(subject: Subject, settings: Groups, level: float) -> pd.DataFrame:
    """The metric of each group of each column, and its gap to the metric of all other rows.

    The intervals of a column's gaps hold together: each has the level divided by their number (Bonferroni).

    Args:
        subject: The run.
        settings: Columns, metric, and the size of groups that are compared.
        level: The chance that an interval is wrong.

    Raises:
        UserError: A column does not exist or has no groups, or the metric does not follow from predictions.
    """
    name, sums = counted_metric(subject, settings.metric)
    higher = subject.run.record.get("higher_is_better", {}).get(name)
    found = []
    for column in settings.columns:
        values = subject.column(column, row_ids(subject))
        names = list(map(grouper(values, column), values))
        rows = _Column(sums, names, documents(subject.predictions), settings.min_rows, level).rows()
        found += [(column, group, count, name, *numbers, _verdict(numbers[-2:], higher)) for group, count, numbers in rows]
    return pd.DataFrame(found, columns=GROUPS)


def row_ids(subject: Subject) -> list[str]:
    """The rows of the predictions, by their ids in the data set; blocks of texts are those of their first text."""
    return [str(row.get("from", row["id"])) for row in subject.predictions]


def counted_metric(subject: Subject, wanted: str | None) -> tuple[str, Sums]:
    """A metric as sums over examples: the one that is wanted, else that which chose the checkpoint, or one that can be counted.

    Raises:
        UserError: It cannot be computed from predictions.
    """
    kind = EVIDENCE_KINDS.get(subject.task.evidence)
    known = [name for name, value in subject.run.results[subject.split].items() if isinstance(value, float)]
    if wanted is not None and wanted not in known:
        raise UserError(f"groups.metric: {subject.split} has no metric {wanted!r}. {near(wanted, known)}")
    monitor = str(subject.run.record.get("monitor", "")).rpartition("/")[2]
    for name in [wanted] if wanted else [monitor, *known]:
        if kind and name in known and (sums := kind.count(name, [subject.predictions], subject.metric_settings)) is not None:
            return name, sums
    fact = f"the metric {wanted!r} cannot" if wanted else "no metric of the run can"
    raise UserError(f"groups: {fact} be computed from predictions/{subject.split}.jsonl; name another one with groups.metric")


def grouper(values: Sequence[Any], column: str) -> Callable[[Any], str]:
    """The function from a value of a column to its group: the value, or one of four ranges of numbers with many values.

    Args:
        values: All values of the column.
        column: Its name.

    Raises:
        UserError: There is one group, or there are too many.
    """
    known = [value for value in values if value is not None and value == value]
    numbers = all(isinstance(value, Real) and not isinstance(value, bool) for value in known)
    if numbers and len(set(known)) > MOST_VALUES:
        ends = np.unique(np.quantile(np.array(known, dtype=float), np.linspace(0, 1, RANGES + 1)))
        return partial(_range_of, ends=ends)
    count = len(set(map(_named, values)))
    if count < 2:
        raise UserError(
            f"groups.columns: {column!r} is {_named(values[0])!r} in all rows; name a column with two or more values"
        )
    if count > MOST_GROUPS:
        raise UserError(
            f"groups.columns: {column!r} has {count:,} different values in {len(values):,} rows; at most {MOST_GROUPS} can be "
            "compared, so name a column with fewer"
        )
    return _named


def _named(value: Any) -> str:
    return MISSING if value is None or value != value or value == "" else str(value)


def _range_of(value: Any, ends: np.ndarray) -> str:
    """The range of a number; the first and the last one have no end."""
    if value is None or value != value:
        return MISSING
    place = min(max(int(np.searchsorted(ends, value, "right")) - 1, 0), len(ends) - 2)
    return f"{ends[place]:.4g} to {ends[place + 1]:.4g}"


def _verdict(gap: Sequence[float], higher: bool | None) -> str:
    low, high = gap
    if np.isnan(low):
        return FEW
    if low <= 0 <= high:
        return OPEN
    return "differs" if higher is None else BETTER if (low > 0) == higher else WORSE


class _Column:
    """The metric of the groups of one column.

    Args:
        sums: What the examples add to the metric.
        names: Group of each example.
        documents: Number of the document of each example, and how many there are.
        min_rows: Number of rows below which a group is not compared.
        level: The chance that an interval is wrong.
    """

    def __init__(self, sums: Sums, names: list[str], documents: tuple[np.ndarray, int], min_rows: int, level: float) -> None:
        self.sums, self.documents, self.level = sums, documents, level
        counts = Counter(names)
        self.groups = sorted(counts, key=lambda name: (-counts[name], name))
        places = {name: i for i, name in enumerate(self.groups)}
        own = np.array([places[name] for name in names])
        self.members = [own == i for i in range(len(self.groups))]
        least = [min(mask.sum(), (~mask).sum()) for mask in self.members]
        self.is_compared = [count >= min_rows for count in least]
        compared = sum(self.is_compared)
        self.corrected = level / (1 if len(self.groups) == 2 else max(compared, 1))  # two gaps of two groups are one

    def rows(self) -> list[tuple[str, int, tuple[float, ...]]]:
        """Group, number of rows, and the metric with its interval, followed by the gap with its interval."""
        found = self._shares() if self.sums.is_share else self._others()
        none = (float("nan"), *UNKNOWN)
        return [
            (group, int(mask.sum()), (*own, *(gap if compared else none)))
            for group, mask, compared, (own, gap) in zip(self.groups, self.members, self.is_compared, found, strict=True)
        ]

    def _shares(self) -> list[tuple[Numbers, Numbers]]:
        hits, units = self.sums.counts[0].T
        numbers = self.documents[0]
        found = []
        for mask in self.members:
            one = share(hits[mask], numbers[mask], self.level, units[mask])
            parts = [share(hits[m], numbers[m], self.corrected, units[m]) for m in (mask, ~mask)]
            found.append(((one.value, one.low, one.high), (parts[0].value - parts[1].value, *difference(*parts))))
        return found

    def _others(self) -> list[tuple[Numbers, Numbers]]:
        both = resampled(self.sums, [*self.members, *(~mask for mask in self.members)], *self.documents)
        count, found = len(self.groups), []
        for i in range(count):
            value, gap = float(both.values[i]), float(both.values[i] - both.values[count + i])
            own: Ends = normal_ends(value, both.drawn[:, i], self.level)
            apart = normal_ends(gap, both.drawn[:, i] - both.drawn[:, count + i], self.corrected)
            found.append(((value, *own), (gap, *apart)))
        return found
