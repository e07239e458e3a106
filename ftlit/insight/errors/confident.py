"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang, 2021, Journal of AI Research 70).

A row is suspected if the model, which has not been trained on it, is as sure of another label as it is on average of the rows
that have this label.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

ROUNDING = 1e-9  # of means
COLUMNS = ("example", "label", "suggested", "probability", "suggested_probability", "margin")


def find_label_errors(labels: Sequence[str] | Sequence[Sequence[str]], probabilities: Any, names: Sequence[str]) -> "DataFrame":
    """Rank the examples whose labels are probably wrong, most suspicious first.

    Args:
        labels: The label of each example; or its labels, if an example may have several.
        probabilities: Probability of each label that models give to examples on which they were not trained,
            ``(examples, labels)``: an array, or a sparse array of SciPy.
        names: The labels by the columns of ``probabilities``.

    Returns:
        ``example``, its position; the given ``label`` and the ``suggested`` one; the ``probability`` of both; and the
        ``margin``, the first probability minus the second, by which rows are sorted. With several labels an example, each is
        judged apart, and a suggestion begins with ``no`` to take one away.

    Raises:
        UserError: A label is not among the names.
    """
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    known = {name: i for i, name in enumerate(names)}
    several = any(not isinstance(label, str) for label in labels)
    given: list[Sequence[str]] = [[label] if isinstance(label, str) else label for label in labels]
    if unknown := next((name for found in given for name in found if name not in known), None):
        raise UserError(f"label {unknown!r} has no probabilities; they are those of {', '.join(list(names)[:20])}")
    table = csr_matrix(probabilities)
    if several:
        owners = np.repeat(np.arange(len(given)), [len(found) for found in given])
        codes = np.array([known[name] for found in given for name in found], dtype=int)
        parts = [_of_one_label(table[:, [i]].toarray()[:, 0], owners[codes == i], name) for i, name in enumerate(names)]
    else:
        parts = [_suspected(table, np.array([known[found[0]] for found in given], dtype=int), np.array(names, dtype=object))]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    found = DataFrame(dict(zip(COLUMNS, columns, strict=True)))
    return found.sort_values("margin", kind="stable").reset_index(drop=True)


def _suspected(table: Any, codes: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, ...]:
    """The columns of the suspected examples that have one label each."""
    own = np.asarray(table[np.arange(len(codes)), codes]).ravel()
    counts = np.bincount(codes, minlength=len(names))
    with np.errstate(invalid="ignore", divide="ignore"):  # a label without examples is never suggested
        thresholds = np.where(counts > 0, np.bincount(codes, own, len(names)) / counts, np.inf)
    best, chance = _confident_label(table, thresholds)
    places = np.flatnonzero((best >= 0) & (best != codes))
    own, chance = own[places], chance[places]
    return places, names[codes[places]], names[best[places]], own, chance, own - chance


def _confident_label(table: Any, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable label of each example among those that reach their thresholds, -1 for none; and its probability."""
    owners = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    reached = table.data >= thresholds[table.indices] - ROUNDING
    owners, labels, values = owners[reached], table.indices[reached], table.data[reached]
    order = np.lexsort((-values, owners))
    rows, first = np.unique(owners[order], return_index=True)
    best, chance = np.full(table.shape[0], -1), np.zeros(table.shape[0])
    best[rows], chance[rows] = labels[order][first], values[order][first]
    return best, chance


def _of_one_label(chance: np.ndarray, owners: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
    """The columns of the examples that probably have a label wrongly, or lack it."""
    has = np.zeros(len(chance), dtype=bool)
    has[owners] = True
    if has.all() or not has.any():  # then nothing is known of the other case
        has, chance = has[:0], chance[:0]
    present = chance >= (chance[has].mean() if len(has) else 0) - ROUNDING
    absent = 1 - chance >= (1 - chance[~has].mean() if len(has) else 0) - ROUNDING
    added = ~has & present & (~absent | (chance > 0.5))
    taken = has & absent & (~present | (chance < 0.5))
    places = np.flatnonzero(taken | added)
    own = np.where(has, chance, 1 - chance)[places]
    one, other = np.array([name, f"no {name}"], dtype=object), np.array([f"no {name}", name], dtype=object)
    without = (~has[places]).astype(int)
    return places, one[without], other[without], own, 1 - own, 2 * own - 1
