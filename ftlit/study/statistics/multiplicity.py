"""Many comparisons at once: adjusted p values, and groups of arms that cannot be told apart."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Protocol

import numpy as np

from ftlit.study.plan.settings import Correction


class Verdict(Protocol):
    """What groups need of a comparison."""

    @property
    def arm(self) -> str: ...
    @property
    def other(self) -> str: ...
    @property
    def different(self) -> bool: ...


def adjust(p_values: Sequence[float], correction: Correction = "holm") -> list[float]:
    """P values adjusted for being many, in their order.

    Args:
        p_values: P values of all comparisons that are looked at together.
        correction: ``holm`` (1979) bounds the probability of any false difference, ``bh`` (Benjamini and Hochberg 1995)
            the expected share of false ones among those found.
    """
    p = np.asarray(p_values, dtype=float)
    if correction == "bh":
        from scipy.stats import false_discovery_control

        return false_discovery_control(p).tolist() if len(p) else []
    # As statsmodels' multipletests, which at each call collects the garbage of all that is loaded: 0.1 s beside torch.
    order = p.argsort()
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted.tolist()


def groups(means: Mapping[str, float], comparisons: Sequence[Verdict]) -> dict[str, str]:
    """Letters of arms: two that share one cannot be told apart, and two that share none differ.

    The compact letter display of Piepho (2004), by growing groups from pairs that no group covers yet. A pair that was not
    compared counts as one that cannot be told apart.

    Args:
        means: The arms' means; the highest has the first letter.
        comparisons: Verdicts on pairs of arms.
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
    """Groups of arms that are all alike, ``(arms, arms)``, so that each such pair is in one."""
    found: list[list[int]] = []
    times = np.zeros(alike.shape, dtype=int)
    for i, j in zip(*np.triu(alike).nonzero(), strict=True):
        if not times[i, j]:
            found.append(_grown(alike, i, j))
            times[np.ix_(found[-1], found[-1])] += 1
    for group in list(found):
        pairs = np.ix_(group, group)
        if (times[pairs] > 1).all():  # it says nothing that the others do not
            found.remove(group)
            times[pairs] -= 1
    return found


def _grown(alike: np.ndarray, i: int, j: int) -> list[int]:
    """A pair and whatever is like all of the group, best first."""
    group = []
    fits = alike[i] & alike[j]
    for k in range(len(alike)):
        if fits[k]:
            group.append(k)
            fits = fits & alike[k]
    return group


def _letter(i: int) -> str:
    """a to z, then a1 to z1, and so on."""
    return ascii_lowercase[i % 26] + (str(i // 26) if i >= 26 else "")
