"""The ends of the lists from which arms choose: whether a chosen value lies there, and what the next one would be."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from ftlit.util.arguments.ranges import RANGES

End = Literal["low", "high"]
SAME_STEP = 1.001  # how much the steps of an arithmetic list may differ
SAME_FACTOR = 1.5  # how much the factors of a geometric list may differ: 1, 3, 10, … and 1, 2, 5, 10, … are geometric


def numbers(values: Any) -> list[float] | None:
    """The values from small to large, if they are a list of three or more numbers."""
    if not isinstance(values, list) or len(values) < 3:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return sorted(values)


def extendable(values: Any) -> bool:
    """Whether a list of numbers can be continued, at one end at least."""
    return any(next_value("", values, end) is not None for end in ("low", "high"))


def next_value(key: str, values: Any, end: End) -> float | None:
    """The next value of a list with equal steps or about equal factors; None if the key cannot have one.

    Factors may alternate, as in 1, 3, 10, 30, so the next one is that before the last. The sign of the values stays.

    Args:
        key: The key whose values these are.
        values: The list.
        end: The end at which it is continued.
    """
    known = numbers(values)
    if known is None:
        return None
    a, b, c = known[-3:] if end == "high" else known[2::-1]
    if _alike([high - low for low, high in pairwise(known)], SAME_STEP):
        found = c + (c - b)
    elif known[0] > 0 and _alike([high / low for low, high in pairwise(known)], SAME_FACTOR):
        found = c * b / a
    else:
        return None
    found = float(f"{found:.6g}")
    if all(isinstance(value, int) for value in known):
        if found != int(found):
            return None
        found = int(found)
    allowed = RANGES.get(key.replace(".init_args", ""))
    accepted = allowed is None or allowed.accepts(found)
    return found if accepted and (found > 0 or known[0] < 0 or (found == 0 and known[0] == 0)) else None


def _alike(steps: Sequence[float], most: float) -> bool:
    return min(steps) > 0 and max(steps) <= most * min(steps)


def end_of(values: Any, chosen: Sequence[Any]) -> End | None:
    """The end of a list at which most of the chosen values lie; None without such an end or for a list without numbers."""
    known = numbers(values)
    if known is None:
        return None
    ends: tuple[tuple[End, float], ...] = (("low", known[0]), ("high", known[-1]))
    return next((end for end, value in ends if 2 * list(chosen).count(value) > len(chosen)), None)


def widened(over: dict[str, Any], choices: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """The values of each key, with the next one at each end where most choices of any arm lie.

    Args:
        over: The values that have been tried for each key.
        choices: What has been chosen, for each arm.
    """
    found = {}
    for key, values in over.items():
        ends = {end_of(values, [chosen[key] for chosen in arm]) for arm in choices}
        new = [value for end in ("low", "high") if end in ends and (value := next_value(key, values, end)) is not None]
        found[key] = [*values, *new] if new else values
    return found
