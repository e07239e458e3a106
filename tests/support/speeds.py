"""Families of cases of which only some run by default."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest


def some_by_default(cases: Sequence[Any], chosen: Collection[int]) -> list[Any]:
    """Cases as parameters of a test, of which those at other positions than `chosen` carry the mark `matrix`.

    Args:
        cases: The cases. A tuple holds the values of several parameters.
        chosen: Positions of the cases that run by default.
    """
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=[] if i in chosen else [pytest.mark.matrix]) for i, case in enumerate(values)]
