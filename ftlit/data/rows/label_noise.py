"""Label noise and oversampling, for studies."""

from collections.abc import Hashable, Sequence

import numpy as np

from ftlit.errors import UserError, near
from ftlit.util.arguments.ranges import check_number


def noisy_labels(labels: Sequence[int | str], names: list[str], rate: float, seed: int) -> list[int | str]:
    """The labels with symmetric noise, as in Zhang et al. (2017) and Patrini et al. (2017).

    Exactly ``round(rate * rows)`` rows, drawn at random, get one of the other classes with equal probability. With the same
    seed, the wrong labels of a lower rate are also those of a higher rate.

    Args:
        labels: Class of each row, as a name or as its position in `names`.
        names: Names of all classes.
        rate: Share of the rows that get a wrong label.
        seed: Seed of the choice of rows and classes.

    Raises:
        UserError: If the rate is not between 0 and 1, a label is unknown, or there is only one class.
    """
    check_number("data.label_noise", rate)
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
    """Positions of rows after random oversampling, which repeats rows until all classes are as large as the largest.

    All rows come first, in order; rows of smaller classes are then repeated, equally often or once more than others of their
    class.

    Args:
        classes: The class of each row.
        seed: Seed of the choice of rows that are repeated once more.
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = {}
    for i, name in enumerate(classes):
        members.setdefault(name, []).append(i)
    largest = max(map(len, members.values()), default=0)
    more = [np.resize(rng.permutation(rows), largest - len(rows)).tolist() for rows in members.values()]
    return [*range(len(classes)), *(i for rows in more for i in rows)]
