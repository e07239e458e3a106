"""The slice with the highest loss among all conjunctions of a few properties, found by branch and bound.

Slices are enumerated by levels, and those that cannot lead to a better one are left out, as in SliceLine (Sagadeeva and Boehm,
2021). The score is another one, since what is found here is tested on other examples: the sum of the losses above the mean,
divided by the square root of the number of examples, as in a t statistic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

Predicates = tuple[tuple[int, int], ...]  # positions of properties, in order, and a value of each


@dataclass
class Level:
    """What is known of the conjunctions of some properties that may lead to the best slice.

    Args:
        columns: Positions of the properties.
        rows: Positions of the examples in these conjunctions.
        codes: Number of the conjunction of each of these examples.
        values: The values of each conjunction, ``(conjunctions, properties)``.
    """

    columns: tuple[int, ...]
    rows: np.ndarray
    codes: np.ndarray
    values: np.ndarray


class Lattice:
    """The conjunctions of properties of examples.

    Args:
        codes: Position of the value of each property and example, ``(properties, examples)``; -1 for none.
        least: Smallest number of examples in a slice.
        most: Largest number of properties in a conjunction.
    """

    def __init__(self, codes: Sequence[np.ndarray], least: int, most: int) -> None:
        self.codes, self.least, self.most = codes, least, most

    def worst(self, losses: np.ndarray, open_rows: np.ndarray) -> Predicates | None:
        """The slice with the highest score, in which only open examples count; None if no loss differs from the mean.

        Args:
            losses: The loss of each example, ``(examples,)``.
            open_rows: Whether an example counts, ``(examples,)``.
        """
        self.best: float = 0.0
        self.found: Predicates | None = None
        self.excess = np.where(open_rows, losses - losses[open_rows].mean(), 0.0)
        self.open, self.top = open_rows, float(self.excess.max(initial=0.0))
        if self.top <= 1e-12:
            return None
        singles = [self._visit(None, (i,)) for i in range(len(self.codes))]
        levels = {level.columns: level for level in singles if level is not None}
        self.columns = [i for i in range(len(self.codes)) if (i,) in levels]
        self.single = levels
        for size in range(2, self.most + 1):
            wanted = [columns for columns in combinations(self.columns, size) if columns[:-1] in levels]
            visited = [self._visit(levels[columns[:-1]], columns) for columns in wanted]
            levels = {level.columns: level for level in visited if level is not None}
        return self.found

    def _visit(self, parent: Level | None, columns: tuple[int, ...]) -> Level | None:
        """Score the conjunctions of some properties, and return those that may lead to a better one."""
        rows, codes, values = self._joined(parent, columns)
        count = len(values)
        size = np.bincount(codes, self.open[rows], count)
        total = np.bincount(codes, self.excess[rows], count)
        above = np.bincount(codes, np.maximum(self.excess[rows], 0), count)
        large = size >= self.least
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.where(large, total / np.sqrt(size), -np.inf)
        if count and scores.max() > self.best + 1e-9:
            place = int(scores.argmax())
            self.best = float(scores[place])
            self.found = tuple(zip(columns, values[place].tolist(), strict=True))
        # No part of a slice has more loss than all above the mean, and its loss is at most the highest one a row.
        bounds = above / np.sqrt(np.maximum(above / self.top, self.least))
        return _kept(columns, rows, codes, values, large & (bounds > self.best))

    def _joined(self, parent: Level | None, columns: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The examples of all conjunctions of some properties, the conjunction of each, and their values."""
        new = self.codes[columns[-1]]
        if parent is None:
            rows = np.flatnonzero(new >= 0)
            return rows, new[rows], np.arange(int(new.max(initial=-1)) + 1)[:, None]
        single = self.single[columns[-1:]]
        renamed = np.full(int(new.max()) + 2, -1)
        renamed[single.values[:, 0]] = np.arange(len(single.values))
        own = renamed[new[parent.rows]]
        inside = own >= 0
        number = len(single.values)
        values = np.concatenate(
            [np.repeat(parent.values, number, axis=0), np.tile(single.values, (len(parent.values), 1))], axis=1
        )
        return parent.rows[inside], parent.codes[inside] * number + own[inside], values


def _kept(columns: tuple[int, ...], rows: np.ndarray, codes: np.ndarray, values: np.ndarray, kept: np.ndarray) -> Level | None:
    """The level with some of its conjunctions."""
    if not kept.any():
        return None
    renamed = np.where(kept, np.cumsum(kept) - 1, -1)[codes]
    inside = renamed >= 0
    return Level(columns, rows[inside], renamed[inside], values[kept])
