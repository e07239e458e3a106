"""Multiple comparisons: adjusted p-values, and groups of arms that do not differ significantly."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from string import ascii_lowercase
from typing import Protocol

import numpy as np

from ftlit.study.plan.settings import Correction

Pair = tuple[str, str]


class Verdict(Protocol):
    """The part of a comparison that `groups` needs."""

    @property
    def arm(self) -> str: ...
    @property
    def other(self) -> str: ...
    @property
    def different(self) -> bool: ...


def is_all_pairs(pairs: Sequence[Pair]) -> bool:
    """Whether a family contains each pair of its arms once."""
    names = {name for pair in pairs for name in pair}
    return len({frozenset(pair) for pair in pairs}) == len(pairs) == len(names) * (len(names) - 1) // 2


def adjust(p_values: Sequence[float], correction: Correction = "holm", all_pairs: bool = False) -> list[float]:
    """Adjust p-values for multiple comparisons; returns them in the same order.

    Args:
        p_values: The p-values of all comparisons in the family.
        correction: ``holm`` (Holm 1979) bounds the probability of any false positive, ``bh`` (Benjamini and Hochberg 1995)
            the expected share of false positives among the differences found.
        all_pairs: Whether the comparisons are all pairs of some arms. Once some arms differ, fewer of the other pairs can be
            alike than there are, which makes ``holm`` less strict (Shaffer 1986).
    """
    p = np.asarray(p_values, dtype=float)
    if correction == "bh":
        from scipy.stats import false_discovery_control

        return false_discovery_control(p).tolist() if len(p) else []
    # Not statsmodels' multipletests, which runs the garbage collector at each call: 0.1 s once torch is loaded.
    order = p.argsort()
    adjusted = np.empty_like(p)
    left = np.arange(len(p), 0, -1)
    if all_pairs and len(p):
        possible = np.array(_alike(round((1 + math.sqrt(1 + 8 * len(p))) / 2)))
        left = possible[np.searchsorted(possible, left, side="right") - 1]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * left), 1)
    return adjusted.tolist()


@lru_cache
def _alike(arms: int) -> list[int]:
    """The numbers of pairs that can be alike among so many arms: those of groups into which the arms fall, in ascending order."""
    sums = [1]  # for each number of arms, the bits of the numbers of pairs that are possible
    for count in range(1, arms + 1):
        found = 0
        for size in range(1, count + 1):
            found |= sums[count - size] << size * (size - 1) // 2
        sums.append(found)
    return [number for number, bit in enumerate(reversed(f"{sums[arms]:b}")) if bit == "1"]


def groups(means: Mapping[str, float], comparisons: Sequence[Verdict]) -> dict[str, str]:
    """Assign letters to arms: arms that share a letter do not differ significantly, arms that share none do.

    This is the compact letter display of Piepho (2004), built by growing groups from pairs that no group covers yet. Pairs
    that were not compared count as not different.

    Args:
        means: The means of the arms; the arm with the highest mean gets the first letter.
        comparisons: The comparisons of pairs of arms.
    """
    order = sorted(means, key=lambda name: -means[name])
    place = {name: i for i, name in enumerate(order)}
    alike = np.ones((len(order), len(order)), dtype=bool)
    for one in comparisons:
        if one.different:
            i, j = place[one.arm], place[one.other]
            alike[i, j] = alike[j, i] = False
    found = _cover(alike)
    return {name: "".join(_letter(i) for i, group in enumerate(found) if place[name] in group) for name in means}


def _cover(alike: np.ndarray) -> list[list[int]]:
    """Groups of arms that are all alike, such that each pair of `alike`, ``(arms, arms)``, is in some group."""
    found: list[list[int]] = []
    times = np.zeros(alike.shape, dtype=int)
    for i, j in zip(*np.triu(alike).nonzero(), strict=True):
        if not times[i, j]:
            found.append(_grown(alike, i, j))
            times[np.ix_(found[-1], found[-1])] += 1
    for group in list(found):
        pairs = np.ix_(group, group)
        if (times[pairs] > 1).all():  # the other groups cover all its pairs
            found.remove(group)
            times[pairs] -= 1
    return found


def _grown(alike: np.ndarray, i: int, j: int) -> list[int]:
    """A pair, extended by every arm that is like all arms of the group, best arms first."""
    group = []
    fits = alike[i] & alike[j]
    for k in range(len(alike)):
        if fits[k]:
            group.append(k)
            fits = fits & alike[k]
    return group


def _letter(i: int) -> str:
    """The letters a to z, then a1 to z1, and so on."""
    return ascii_lowercase[i % 26] + (str(i // 26) if i >= 26 else "")
