"""Packing of several examples into one block, with less padding and the same loss.

Examples are packed when a batch is made, not when they are encoded, so that the examples of an optimizer step and their
weights in the loss are the same as without packing. Positions restart with each example and there is no attention mask:
causal models of transformers infer from the positions which tokens belong together. The first token of an example must not
have a label, because the token before it belongs to another example.
"""

from typing import Any

from ftlit.util.batch import IGNORED, pad


def pack_examples(lengths: list[int], limit: int) -> list[list[int]]:
    """The examples of each block of at most `limit` tokens: first fit, longest examples first."""
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


def collate_blocks(columns: dict[str, list[Any]], limit: int, pad_token_id: int) -> dict[str, Any]:
    """A batch of blocks, packed from examples with ``input_ids`` and ``labels``.

    Args:
        columns: Encoded examples.
        limit: Maximum number of tokens of a block.
        pad_token_id: Padding value of ``input_ids``.

    Returns:
        ``input_ids``, ``labels`` and ``position_ids`` of shape ``(blocks, tokens)``, and ``tokens``, the number of tokens
        without padding.
    """
    lengths = [len(ids) for ids in columns["input_ids"]]
    chosen = pack_examples(lengths, limit)
    fillers = {"input_ids": pad_token_id, "labels": IGNORED, "position_ids": 0}
    given = {**columns, "position_ids": [list(range(length)) for length in lengths]}
    joined = {name: [[v for i in block for v in given[name][i]] for block in chosen] for name in fillers}
    return {**{name: pad(joined[name], filler) for name, filler in fillers.items()}, "tokens": sum(lengths), "metadata": {}}
