"""What runs with the same seed share, whichever their arm: the order of the data, the drawn examples, the split."""

from collections.abc import Sequence

import numpy as np

LEVEL = 0.05  # at which runs with the same seed must be alike before arms are compared within seeds


def within_seeds(values: Sequence[np.ndarray], precision: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Take out of each arm's values what the seeds share, as far as the arms show that they share anything.

    Every arm gets the model: value = mean of the arm + effect of the seed + rest. The variance of the effects is estimated
    from the analysis of variance, and the effects are shrunk by it. The difference of two arms over the same seeds does not
    contain them, so that only the variance of the rest counts for it.

    Args:
        values: The values of each arm, all with the same seeds in the same order, ``(arms,)`` of ``(seeds,)``.
        precision: The weight of each arm, one over its variance, ``(arms,)``.

    Returns:
        The values without the effects, and the share of the degrees of freedom that this costs.
    """
    table = np.stack(values)
    arms, seeds = table.shape
    if arms < 2 or seeds < 2:
        return list(values), 0.0
    rest = table - table.mean(axis=1, keepdims=True)
    effects = precision @ rest / precision.sum()
    scaled = precision[:, None] * (rest - effects) ** 2
    within = scaled.sum() / ((arms - 1) * (seeds - 1))
    ratio = precision.sum() * (effects**2).sum() / (seeds - 1) / within if within > 0 else np.inf
    if _chance(ratio, seeds - 1, (arms - 1) * (seeds - 1)) > LEVEL:
        return list(values), 0.0
    kept = 1 - 1 / ratio
    return list(table - kept * effects), float(kept / arms)


def _chance(ratio: float, freedom: int, rest: int) -> float:
    from scipy.special import fdtrc

    return float(fdtrc(freedom, rest, ratio)) if np.isfinite(ratio) else 0.0
