"""Search for slices with a higher loss on one half of the examples, and confirm them on the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ftlit.insight.errors.slices.features import Feature
from ftlit.insight.errors.slices.lattice import Lattice, Predicates
from ftlit.insight.errors.slices.statistics import contrasts
from ftlit.insight.errors.slices.table import LEAST, as_features, group_numbers, is_binary

if TYPE_CHECKING:
    from pandas import DataFrame

ALPHA = 0.05
CANDIDATES = 5  # slices that are tested on the other half
PREDICATES = 3  # properties in a conjunction
SMALLEST, ENOUGH = 0.01, 30  # share of the searched examples in a slice, and a number of them
COLUMNS = (
    *("slice", "predicates", "size", "share", "tested", "mean", "rest", "difference", "low", "high", "p_adjusted"),
    "confirmed",
)
SEARCHED = 100_000  # examples that are searched at most; all others are for the tests


def find_slices(
    features: "DataFrame | Sequence[Feature]",
    losses: np.ndarray,
    groups: np.ndarray | None = None,
    predicates: int = PREDICATES,
    seed: int = 0,
) -> "DataFrame":
    """Find slices that have a higher loss than the rest, among all conjunctions of a few properties.

    One random half of the examples is searched for the slice that is worst, then for the worst one on the examples that it
    leaves, and so on. Each is then tested on the other half, which had no part in the search, with those of its examples that
    no slice before it has. P-values are multiplied by the number of slices tested (Bonferroni), so that a slice is reported in
    at most 5% of data sets without any.

    Args:
        features: Properties of the examples: a data frame, or features. Numbers are binned.
        losses: The loss of each example, ``(examples,)``; 1 for a wrong and 0 for a right prediction.
        groups: The document of each example, ``(examples,)``, if those of a document are not independent.
        predicates: Largest number of properties in a conjunction.
        seed: Seed of the halves.

    Returns:
        A row for each slice that was tested, the worst one first: ``slice``, its ``predicates`` as pairs of a property and a
        value, ``size`` among all examples, ``share``, and on the half of the test ``tested`` examples, their ``mean`` loss,
        that of the ``rest``, their ``difference`` with its 95% interval ``low`` to ``high``, ``p_adjusted``, and whether it is
        ``confirmed``.
    """
    losses, found = np.asarray(losses, dtype=float), as_features(features)
    owners = group_numbers(groups)
    searched, held_out = _halves(len(losses), owners, seed)
    least = smallest(len(searched))
    candidates = _candidates(found, losses[searched], searched, least, predicates)
    predicates_of = [[(found[i].name, found[i].values[code]) for i, code in candidate] for candidate in candidates]
    return _tested(predicates_of, [members(found, one) for one in predicates_of], losses, held_out, owners)


def smallest(examples: int) -> int:
    """The smallest slice that is searched for: 1% of the examples, or 30, but not more than 5% and not less than ten."""
    return max(LEAST, min(ENOUGH, examples // 20), int(np.ceil(SMALLEST * examples)))


def _halves(examples: int, owners: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the examples to search and of those to test, in order; documents are not divided."""
    rng = np.random.default_rng(seed)
    if owners is None:
        order = rng.permutation(examples)
        half = min(examples // 2, SEARCHED)
        return np.sort(order[:half]), np.sort(order[half:])
    chosen = rng.random(int(owners.max()) + 1) < min(0.5, SEARCHED / examples)
    return np.flatnonzero(chosen[owners]), np.flatnonzero(~chosen[owners])


def _candidates(
    features: Sequence[Feature], losses: np.ndarray, searched: np.ndarray, least: int, predicates: int
) -> list[Predicates]:
    """The worst slices of the half that is searched, each without the examples of those before it."""
    codes = [feature.codes[searched] for feature in features]
    lattice, open_rows = Lattice(codes, least, predicates), np.ones(len(searched), dtype=bool)
    found: list[Predicates] = []
    while len(found) < CANDIDATES and open_rows.sum() >= 2 * least:
        worst = lattice.worst(losses, open_rows)
        if worst is None:
            break
        found.append(worst)
        inside = np.logical_and.reduce([codes[i] == code for i, code in worst])
        open_rows &= ~inside
    return found


def members(features: Sequence[Feature], predicates: Sequence[tuple[str, str]]) -> np.ndarray:
    """Whether each example is in a slice, ``(examples,)``.

    Args:
        features: Properties of the examples.
        predicates: Name and value of each property of the slice.
    """
    by_name = {feature.name: feature for feature in features}
    return np.logical_and.reduce([by_name[name].codes == by_name[name].values.index(value) for name, value in predicates])


def _tested(
    slices: Sequence[Sequence[tuple[str, str]]],
    inside_of: Sequence[np.ndarray],
    losses: np.ndarray,
    held_out: np.ndarray,
    owners: np.ndarray | None,
) -> "DataFrame":
    from pandas import DataFrame

    binary, open_rows, rows = is_binary(losses), np.ones(len(held_out), dtype=bool), []
    documents = None if owners is None else group_numbers(owners[held_out])
    for predicates, inside in zip(slices, inside_of, strict=True):
        here, values = inside[held_out], losses[held_out]
        shown = contrasts(values, here.astype(int), 2, documents, binary)
        p = _p_worse(here & open_rows, open_rows, values, documents, binary)
        open_rows &= ~here
        rows.append(
            {
                "slice": " and ".join(f"{name}: {value}" for name, value in predicates),
                "predicates": tuple(predicates),
                "size": int(inside.sum()),
                "share": float(inside.mean()),
                "tested": int(shown.size[1]),
                "mean": shown.mean[1],
                "rest": shown.rest[1],
                "difference": shown.difference[1],
                "low": shown.low[1],
                "high": shown.high[1],
                "p_adjusted": min(1.0, p * len(slices)),
                "confirmed": bool(p * len(slices) <= ALPHA),
            }
        )
    return DataFrame(rows, columns=list(COLUMNS)).astype({"confirmed": bool})


def _p_worse(
    inside: np.ndarray, open_rows: np.ndarray, losses: np.ndarray, documents: np.ndarray | None, binary: bool
) -> float:
    """The one-sided p-value of a slice among the open examples; 1 if it is too small to be tested."""
    if inside.sum() < LEAST or (open_rows & ~inside).sum() < LEAST:
        return 1.0
    owners = None if documents is None else group_numbers(documents[open_rows])
    found = contrasts(losses[open_rows], inside[open_rows].astype(int), 2, owners, binary)
    return float(np.nan_to_num(found.p_worse[1], nan=1.0))
