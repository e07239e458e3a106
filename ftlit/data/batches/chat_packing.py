"""Several examples in one block, none of which sees another: less padding, the same loss.

Examples are put together when a batch is made, not when they are encoded: which of them make an optimizer step, and what
each counts in its loss, stays as it is without packing. Positions begin anew in each example and there is no attention
mask: causal models of transformers tell from this which tokens belong together. The first token of an example must have
no label, as the one before it belongs to another.
"""

from typing import Any

from ftlit.util.batch import IGNORED, pad


def blocks(lengths: list[int], limit: int) -> list[list[int]]:
    """Which examples share a block of at most `limit` tokens: first-fit, the longest first."""
    found: list[list[int]] = []
    free: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((j for j, room in enumerate(free) if room >= lengths[i]), len(free))
        if place == len(free):
            found.append([])
            free.append(limit)
        found[place].append(i)
        free[place] -= lengths[i]
    return found


def in_blocks(columns: dict[str, list[Any]], limit: int, pad_token_id: int) -> dict[str, Any]:
    """A batch of blocks from examples with ``input_ids`` and ``labels`` of each token.

    Args:
        columns: Encoded examples.
        limit: Tokens of a block, at most.
        pad_token_id: Fills up ``input_ids``.

    Returns:
        ``input_ids``, ``labels`` and ``position_ids`` of shape ``(blocks, tokens)``, and ``tokens``, the number of tokens
        that are not padding.
    """
    lengths = [len(ids) for ids in columns["input_ids"]]
    chosen = blocks(lengths, limit)
    fillers = {"input_ids": pad_token_id, "labels": IGNORED, "position_ids": 0}
    given = {**columns, "position_ids": [list(range(length)) for length in lengths]}
    joined = {name: [[v for i in block for v in given[name][i]] for block in chosen] for name in fillers}
    return {**{name: pad(joined[name], filler) for name, filler in fillers.items()}, "tokens": sum(lengths), "metadata": {}}
