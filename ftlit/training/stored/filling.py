"""Fill the file of the values of a split, unless an earlier run has done so."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ftlit.errors import UserError
from ftlit.training.stored.canonical import canonical_batches
from ftlit.training.stored.folder import filling, reason_of_room, states_file, used
from ftlit.training.stored.store import Held, Store, Writer, layout_of, writing


@dataclass(frozen=True)
class Values:
    """What is computed once for each example of a split.

    Args:
        name: What it is, for the progress bar, such as `Frozen layers on train`.
        key: Stands for everything that it depends on, in its last bits too.
        lengths: Number of tokens of each example, ``(examples,)``.
        size: Returns how many bytes it takes at most.
        compute: Returns how many rows each of some examples has, and the rows of all, ``(rows, width)``.
        device: Where it is computed.
    """

    name: str
    key: str
    lengths: np.ndarray
    size: Callable[[], int]
    compute: Callable[[list[int]], tuple[list[int], Tensor]]
    device: torch.device


def stored(values: Values, limit: int) -> Store:
    """Values on the disk, computed now if they are not there yet. One process computes, others wait for it.

    Args:
        values: The values of a split.
        limit: Bytes that all stored values may take.

    Raises:
        UserError: There is no room for them, or the system refuses to write.
    """
    path = states_file(values.key)
    if (found := opened(path, values.key)) is not None:
        return found
    with filling(path):
        if (found := opened(path, values.key)) is not None:
            return found
        if reason := reason_of_room(values.size(), limit, path):
            raise UserError(reason)
        with writing(path, values.key, len(values.lengths)) as writer:
            fill(values, writer)
        found = opened(path, values.key)
    if found is None:
        raise UserError(f"{path} was changed while it was written")
    return found


def held(values: Values) -> Held:
    """Values in memory, computed now. They are the same bits as those on the disk."""
    found = Held(len(values.lengths))
    fill(values, found)
    return found


def opened(path: Path, key: str) -> Store | None:
    """The store in a file; None if the file does not exist, was cut, or holds something else."""
    layout = layout_of(path, key)
    if layout is None:
        return None
    try:
        used(path)
        return Store(path, layout)
    except FileNotFoundError:  # removed in the meantime
        return None


def fill(values: Values, into: Writer | Held) -> None:
    """Compute the values of a split and add them to what keeps them."""
    devices = [values.device] if values.device.type == "cuda" else []
    total = len(values.lengths)
    bar = tqdm(total=total, desc=values.name, unit=" examples", disable=None, file=sys.stderr, leave=False)
    with torch.random.fork_rng(devices), torch.no_grad(), bar:
        for examples in canonical_batches(values.lengths):
            into.add(examples, *values.compute(examples))
            bar.update(len(examples))
