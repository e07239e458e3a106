"""Seeded changes to the classes of a split, for studies: label noise and oversampling."""

from collections.abc import Hashable, Sequence

import numpy as np

from ftlit.errors import UserError, near


def noisy_labels(labels: Sequence[int | str], names: list[str], rate: float, seed: int) -> list[int | str]:
    """The labels with a share of them wrong: symmetric noise, as in Zhang et al. (2017) and Patrini et al. (2017).

    Exactly ``round(rate * rows)`` rows, drawn at random, get one of the other classes, each as likely. With the same
    seed the rows of a lower rate are wrong in the same way at a higher one.

    Args:
        labels: Class of each row, as a name or as its position in `names`.
        names: Names of all classes.
        rate: Share of the rows whose label becomes wrong.
        seed: Decides which rows and which classes.

    Raises:
        UserError: The rate is not between 0 and 1, a label is unknown, or there is one class only.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"the rate of label noise must be from 0 to 1, got {rate}")
    if len(names) < 2:
        raise UserError(f"label noise needs two classes or more, the data have {len(names)}")
    places = [_place(label, names, row) for row, label in enumerate(labels, start=1)]
    rng = np.random.default_rng(seed)
    order, shifts = rng.permutation(len(labels)).tolist(), rng.integers(1, len(names), len(labels)).tolist()
    noisy = list(labels)
    for i in order[: round(rate * len(labels))]:
        place = (places[i] + shifts[i]) % len(names)
        noisy[i] = names[place] if isinstance(labels[i], str) else place
    return noisy


def _place(label: int | str, names: list[str], row: int) -> int:
    if isinstance(label, str):
        if label not in names:
            raise UserError(f"row {row} has the label {label!r}, which is not a class. {near(label, names)}")
        return names.index(label)
    if not 0 <= label < len(names):
        raise UserError(f"row {row} has the label {label}, but the {len(names)} classes count from 0 to {len(names) - 1}")
    return label


def balanced(classes: Sequence[Hashable], seed: int) -> list[int]:
    """Positions that give every class as many rows as the largest has: random oversampling.

    All rows come once, in order; then rows of the smaller classes again, each as often as the others of its class or
    once more.

    Args:
        classes: The class of each row.
        seed: Decides which rows come once more.
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = {}
    for i, name in enumerate(classes):
        members.setdefault(name, []).append(i)
    largest = max(map(len, members.values()), default=0)
    more = [np.resize(rng.permutation(rows), largest - len(rows)).tolist() for rows in members.values()]
    return [*range(len(classes)), *(i for rows in more for i in rows)]
