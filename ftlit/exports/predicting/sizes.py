"""How many rows go through a model together."""

from collections.abc import Callable

import numpy as np

from ftlit.data.batches.batching import Shuffled, TokenBudget

Sizes = Callable[[np.ndarray], list[int]]  # from the numbers of tokens of all examples, in ascending order

# Tokens of a batch by device: on a CPU, small batches stay in its caches.
TOKENS = {"cpu": 512, "cuda": 16384}
GENERATED_ROWS = 32  # whose answers are written together, since they need memory for tokens that are not there yet


def tokens_of(device: str) -> int:
    """Number of tokens of a batch on a device, padding included."""
    return TOKENS.get(device.partition(":")[0], TOKENS["cuda"])


def by_tokens(tokens: int) -> Sizes:
    """Batches of at most `tokens` tokens, of which a longer example is one of its own."""
    return lambda lengths: TokenBudget(max(tokens, int(lengths[-1]))).eval_batch_sizes(lengths)


def default_sizes(device: str, generates: bool) -> Sizes:
    """The batches of a device."""
    return Shuffled(GENERATED_ROWS).eval_batch_sizes if generates else by_tokens(tokens_of(device))
