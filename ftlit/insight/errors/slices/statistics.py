"""How slices differ from the rest of the examples: tests, and intervals."""

from dataclasses import dataclass

import numpy as np

from ftlit.insight.shares import newcombe, wilson

LEVEL = 0.95  # of intervals


@dataclass(frozen=True)
class Contrasts:
    """Slices compared with the rest of the examples, one number a slice in each array, ``(slices,)``.

    Args:
        size: Number of examples in the slice.
        mean: Mean loss in the slice.
        rest: Mean loss of the other examples.
        low: Lower end of the 95% interval of the difference of both.
        high: Upper end.
        p: Two-sided p-value of the difference; NaN if the slice or the rest is empty or a single document.
        p_worse: One-sided p-value of a higher loss in the slice.
    """

    size: np.ndarray
    mean: np.ndarray
    rest: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_worse: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """The mean loss in the slice minus that of the rest."""
        return self.mean - self.rest


def contrasts(losses: np.ndarray, codes: np.ndarray, count: int, groups: np.ndarray | None, binary: bool) -> Contrasts:
    """Compare each value of a feature with all other examples.

    Rights and wrongs of independent examples have the hypergeometric tests of Fisher (two-sided: twice the smaller tail) and
    the interval of Newcombe (1998, method 10). Other losses, and examples of documents, have a t-test whose variance adds up
    whole documents, as in Liang and Zeger (1986); an example without a document is one.

    Args:
        losses: The loss of each example, ``(examples,)``.
        codes: The slice of each example, from 0, ``(examples,)``; -1 for none.
        count: Number of slices.
        groups: The document of each example, as numbers from 0, ``(examples,)``; None if examples are independent.
        binary: Whether losses are 0 or 1.
    """
    known = codes >= 0
    size = np.bincount(codes[known], minlength=count)
    total = np.bincount(codes[known], losses[known], minlength=count)
    others, all_total = len(losses) - size, losses.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, rest = total / size, (all_total - total) / others
    if binary and groups is None:
        low, high = newcombe(mean, wilson(mean, size), rest, wilson(rest, others))
        p, p_worse = _fisher(total, size, all_total, len(losses))
    else:
        owners = np.arange(len(losses)) if groups is None else groups
        error, documents = _standard_errors(losses, codes, count, owners, mean, rest)
        low, high, p, p_worse = _student(mean - rest, error, documents)
    p[(size == 0) | (others == 0)] = np.nan
    return Contrasts(size, mean, rest, low, high, p, p_worse)


def _fisher(wrong: np.ndarray, size: np.ndarray, all_wrong: float, examples: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import hypergeom

    more = hypergeom.sf(wrong - 1, examples, all_wrong, size)
    fewer = hypergeom.cdf(wrong, examples, all_wrong, size)
    return np.minimum(2 * np.minimum(more, fewer), 1), more


def _standard_errors(
    losses: np.ndarray, codes: np.ndarray, count: int, owners: np.ndarray, mean: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of each difference, and the smaller number of documents on either side, ``(slices,)`` each.

    A document adds ``(sum - n mean) / size`` of its examples in the slice, minus the same of its other examples in the rest.
    """
    center = losses.mean()  # sums of squares of small numbers are precise
    values, mean, rest = losses - center, mean - center, rest - center
    known = codes >= 0
    size = np.bincount(codes[known], minlength=count)
    others, documents = len(losses) - size, int(owners.max()) + 1
    n_all, s_all = np.bincount(owners, minlength=documents), np.bincount(owners, values, minlength=documents)
    cells, inverse = np.unique(codes[known].astype(np.int64) * documents + owners[known], return_inverse=True)
    code, owner = cells // documents, cells % documents
    n, s = np.bincount(inverse), np.bincount(inverse, values[known])
    with np.errstate(invalid="ignore", divide="ignore"):
        outside = (s_all @ s_all - 2 * rest * (s_all @ n_all) + rest**2 * (n_all @ n_all)) / others**2
        replaced = ((s_all[owner] - rest[code] * n_all[owner]) / others[code]) ** 2
        within = (s - mean[code] * n) / size[code]
        without = (s_all[owner] - s - rest[code] * (n_all[owner] - n)) / others[code]
        added = np.bincount(code, (within - without) ** 2 - replaced, minlength=count)
        variance = np.maximum(outside + added, 0) * documents / max(documents - 1, 1)
    inside = np.bincount(code, minlength=count)
    beside = documents - np.bincount(code, n == n_all[owner], minlength=count)
    return np.sqrt(variance), np.minimum(inside, beside)


def _student(
    difference: np.ndarray, error: np.ndarray, documents: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both ends of the interval, the two-sided and the one-sided p-value; NaN for a single document."""
    from scipy.stats import t

    freedom = np.where(documents > 1, documents - 1.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.where(difference == 0, 0.0, difference / error)
    half = t.ppf(0.5 + LEVEL / 2, freedom) * error
    return difference - half, difference + half, 2 * t.sf(abs(statistic), freedom), t.sf(statistic, freedom)
