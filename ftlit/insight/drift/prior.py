"""The share of each label among rows without labels, by black box shift estimation (BBSE; Lipton et al., 2018).

If only the shares of the labels have changed, and not the texts of each label, then the shares of predictions follow from
them: ``q = A p``, where ``A[i, j]`` is the share of predictions `i` among rows of label `j`, as measured on rows with labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS, LEAST_DRAWS, LEVEL = 500, 50, 0.05
SINGULAR = 0.05  # the least singular value of a matrix that is inverted
MAX_BLOCK_SIZE = 4_000_000  # numbers of the matrices that are solved together
MAX_WORK = 5_000_000_000  # additions of all solutions, from which on there are fewer draws


@dataclass(frozen=True)
class LabelShare:
    """The share of a label.

    Args:
        label: The label.
        reference: Its share among the rows with labels.
        predicted: Its share among the predictions for the new rows.
        estimate: Its estimated share among the new rows; None where it cannot be estimated.
        interval: Ends of the 95% interval of the estimate.
    """

    label: str
    reference: float
    predicted: float
    estimate: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Prior:
    """The shares of all labels.

    Args:
        shares: The share of each label.
        problem: Why shares are not estimated, as a sentence; empty if all are.
    """

    shares: list[LabelShare]
    problem: str = ""


def label_prior(
    names: Sequence[str], predicted: np.ndarray, true: np.ndarray, new: np.ndarray, several: bool, split: str
) -> Prior:
    """Estimate the share of each label among the new rows, with intervals by the bootstrap over the rows of both samples.

    Args:
        names: The labels.
        predicted: Which labels were predicted for the rows with labels, boolean ``(rows, labels)``.
        true: Which labels they have, likewise.
        new: Which labels were predicted for the new rows, boolean ``(new rows, labels)``.
        several: Whether a row may have any number of labels; the share of each label is then estimated on its own.
        split: Name of the split of the rows with labels, for sentences.
    """
    shares = [LabelShare(name, *both) for name, *both in zip(names, true.mean(0).tolist(), new.mean(0).tolist(), strict=True)]
    found = _of_each_label(shares, predicted, true, new) if several else _of_all_labels(shares, predicted, true, new)
    unknown = [share.label for share in found if share.estimate is None]
    fewest = min(zip(true.sum(0).tolist(), names, strict=True))
    return Prior(found, _problem(unknown, fewest, several, split) if unknown else "")


def _problem(unknown: list[str], fewest: tuple[int, str], several: bool, split: str) -> str:
    named = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} others" if len(unknown) > 5 else "")
    if several:
        return f"The shares of {named} are not estimated: predictions on {split} do not tell rows with the label from others."
    return (
        f"The shares of the labels are not estimated: the matrix of confusion on {split} cannot be inverted with certainty, "
        f"because labels have few rows there ({fewest[1]!r} has {fewest[0]:,}), or predictions do not tell them apart."
    )


def _of_all_labels(shares: list[LabelShare], predicted: np.ndarray, true: np.ndarray, new: np.ndarray) -> list[LabelShare]:
    confusion = predicted.T.astype(float) @ true
    found = _estimates(confusion, new.sum(0).astype(float))
    if found is None:
        return shares
    return [_estimated(share, *ends) for share, *ends in zip(shares, *(part.tolist() for part in found), strict=True)]


def _of_each_label(shares: list[LabelShare], predicted: np.ndarray, true: np.ndarray, new: np.ndarray) -> list[LabelShare]:
    estimated = []
    for i, share in enumerate(shares):
        said, has = (np.stack([~part[:, i], part[:, i]]).astype(float) for part in (predicted, true))
        count = float(new[:, i].sum())
        found = _estimates(said @ has.T, np.array([len(new) - count, count]))
        estimated.append(share if found is None else _estimated(share, *(float(part[1]) for part in found)))
    return estimated


def _estimated(share: LabelShare, estimate: float, low: float, high: float) -> LabelShare:
    return LabelShare(share.label, share.reference, share.predicted, estimate, (low, high))


def _estimates(confusion: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Estimated shares and the ends of their intervals, each ``(labels,)``; None if the matrix cannot be inverted.

    Args:
        confusion: Number of rows by prediction and label, ``(labels, labels)``.
        counts: Number of predictions of each label for the new rows, ``(labels,)``.
    """
    matrix = _given_label(confusion)
    if not confusion.sum(0).all() or np.linalg.svd(matrix, compute_uv=False)[-1] < SINGULAR:
        return None
    sign, drawn, draws = np.linalg.slogdet(matrix).sign, [], _draws(len(counts))
    for matrices, predicted in _resamples(confusion, counts, draws):
        same = np.linalg.slogdet(matrices).sign == sign
        drawn.append(_solved(matrices[same], predicted[same]))
    found = np.concatenate(drawn)
    if len(found) < (1 - LEVEL / 2) * draws:  # in the others, predictions tell the labels apart the other way round
        return None
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
    return _solved(matrix[None], counts[None])[0], low, high


def _draws(labels: int) -> int:
    return max(min(DRAWS, MAX_WORK // labels**3), LEAST_DRAWS)


def _resamples(confusion: np.ndarray, counts: np.ndarray, draws: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of matrices `A` of resampled rows, ``(draws, labels, labels)``, and of counts, ``(draws, labels)``."""
    rng, size, labels = np.random.default_rng(0), max(1, MAX_BLOCK_SIZE // confusion.size), len(counts)
    for start in range(0, draws, size):
        block = min(size, draws - start)
        cells = rng.multinomial(int(confusion.sum()), confusion.ravel() / confusion.sum(), size=block)
        predicted = rng.multinomial(int(counts.sum()), counts / counts.sum(), size=block)
        yield _given_label(cells.reshape(block, labels, labels)), predicted


def _given_label(confusion: np.ndarray) -> np.ndarray:
    """The share of each prediction among the rows of each label."""
    return confusion / np.maximum(confusion.sum(-2, keepdims=True), 1)


def _solved(matrices: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Estimated shares, which are not negative and add up to 1, ``(draws, labels)``.

    Args:
        matrices: The share of each prediction among the rows of each label, ``(draws, labels, labels)``.
        counts: Number of predictions of each label, ``(draws, labels)``.
    """
    predicted = counts / counts.sum(-1, keepdims=True)
    found = np.maximum(np.linalg.solve(matrices, predicted[..., None])[..., 0], 0)
    return found / found.sum(-1, keepdims=True)
