"""Fill the file of the states of a split, unless an earlier run has done so."""

import sys
from pathlib import Path

import torch
from tqdm import tqdm

from ftlit.errors import UserError
from ftlit.training.trunk.canonical import Passes, canonical_batches, trunk_key
from ftlit.training.trunk.folder import filling, reason_of_room, states_file, used
from ftlit.training.trunk.store import Store, layout_of, writing


def stored(passes: Passes, split: str, token_bytes: int, limit: int) -> Store:
    """The stored states of a split, computed now if they are not there yet. One process computes, others wait for it.

    Args:
        passes: The task and its data.
        split: Name of the split.
        token_bytes: Bytes of the states of a token.
        limit: Bytes that all stored states may take.

    Raises:
        UserError: There is no room for them, or the system refuses to write.
    """
    key = trunk_key(passes, split)
    path = states_file(key)
    if (found := opened(path, key)) is not None:
        return found
    with filling(path):
        if (found := opened(path, key)) is not None:
            return found
        need = int(passes.data.lengths(split).sum()) * token_bytes
        if reason := reason_of_room(need, limit, path):
            raise UserError(reason)
        fill(passes, split, path, key)
        found = opened(path, key)
    if found is None:
        raise UserError(f"{path} was changed while it was written")
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


def fill(passes: Passes, split: str, path: Path, key: str) -> None:
    """Compute the states of a split and write them."""
    lengths = passes.data.lengths(split)
    devices = [passes.device] if passes.device.type == "cuda" else []
    bar = tqdm(
        total=len(lengths), desc=f"Frozen layers on {split}", unit=" examples", disable=None, file=sys.stderr, leave=False
    )
    with torch.random.fork_rng(devices), writing(path, key, len(lengths)) as writer, bar:
        for examples in canonical_batches(lengths):
            writer.add(examples, *passes.states(passes.batch(split, examples)))
            bar.update(len(examples))
