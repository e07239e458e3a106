"""Random parts of a split, determined by a seed."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from ftlit.errors import UserError


def split_off(classes: Sequence[Hashable] | None, rows: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions of the rows that stay and of those that are split off, both in order.

    Args:
        classes: The class of each row, for a stratified split; None for a plain random split.
        rows: Number of rows.
        share: Share of the rows to split off.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    off: list[int] = []
    for members in _groups(classes, rows):
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        off += rng.permutation(members)[:count].tolist()
    chosen = set(off)
    return [i for i in range(rows) if i not in chosen], sorted(chosen)


def fold_numbers(
    classes: Sequence[Hashable] | None, documents: Sequence[Hashable] | None, rows: int, folds: int, seed: int
) -> np.ndarray:
    """The fold of each row, ``(rows,)``, from 0. Folds differ by a row at most, or by a document.

    Args:
        classes: The class of each row, which then has about the same share in each fold; None for random folds.
        documents: The document of each row, whose rows stay together; classes are then not stratified. None without.
        rows: Number of rows.
        folds: Number of folds.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    found = np.zeros(rows, dtype=int)
    if documents is None:
        order = np.concatenate([rng.permutation(members) for members in _groups(classes, rows)])
        found[order] = np.arange(rows) % folds
        return found
    sizes = np.zeros(folds, dtype=int)
    groups = _groups(documents, rows)
    for i in sorted(rng.permutation(len(groups)).tolist(), key=lambda i: -len(groups[i])):
        smallest = int(sizes.argmin())
        found[groups[i]] = smallest
        sizes[smallest] += len(groups[i])
    return found


def subsample(rows: int, count: int, seed: int) -> list[int]:
    """`count` random positions of `rows`, in order."""
    return sorted(np.random.default_rng(seed).permutation(rows)[:count].tolist())


def shots(classes: Sequence[Hashable], k: int, seed: int) -> list[int]:
    """Positions of `k` random rows of each class, in order.

    Raises:
        UserError: If a class has fewer rows.
    """
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for members in _groups(classes, len(classes)):
        if len(members) < k:
            raise UserError(f"data.shots is {k}, but the label {classes[members[0]]!r} has {len(members)} rows in train")
        chosen += rng.permutation(members)[:k].tolist()
    return sorted(chosen)


def _groups(classes: Sequence[Hashable] | None, rows: int) -> list[list[int]]:
    if classes is None:
        return [list(range(rows))]
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, name in enumerate(classes):
        groups[name].append(i)
    return [groups[name] for name in sorted(groups, key=str)]
