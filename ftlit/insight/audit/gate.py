"""Limits on what an audit finds, for continuous integration."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from ftlit.errors import UserError, near
from ftlit.insight.audit.memory.written import PERSONAL, VERBATIM
from ftlit.insight.audit.settings import Gate, Limit

FAILED = 3  # exit code of the command
Measured = tuple[str, str, float, float, float]  # name, what was measured, value, and its interval


@dataclass(frozen=True)
class Check:
    """A limit and what was measured.

    Args:
        limit: Name of the limit, such as `max_gap`.
        of: What was measured, such as ``gender = female``; the one that is farthest beyond the limit, if there are several.
        value: What was found; None if nothing could be measured.
        allowed: The limit.
        kept: Whether the limit was kept.
    """

    limit: str
    of: str
    value: float | None
    allowed: float
    kept: bool

    def __str__(self) -> str:
        if self.value is None:
            return f"gate.{self.limit} {self.allowed:g} of {self.of}: nothing could be measured"
        by = abs(self.value - self.allowed)
        how = (
            "is kept" if self.kept else f"is missed by {by:.4f}" if self.limit.startswith("min") else f"is exceeded by {by:.4f}"
        )
        return f"gate.{self.limit} {self.allowed:g} {how}: {self.of} has {self.value:.4f}"


@dataclass(frozen=True)
class Findings:
    """What limits are about.

    Args:
        groups: Groups of rows, from `group_metrics`.
        substitutions: Lexicons and templates, from `summary`.
        effects: Scores by groups of words, from `effects`.
        tests: Tests of behaviour, from `results`.
        memory: What written texts repeat of train, from `memory`.
    """

    groups: pd.DataFrame
    substitutions: pd.DataFrame
    effects: pd.DataFrame
    tests: pd.DataFrame
    memory: pd.DataFrame


def checked(gate: Gate, found: Findings, names: Mapping[str, Iterable[str]]) -> list[Check]:
    """Compare what was found with the limits.

    Args:
        gate: The limits.
        found: What was found.
        names: Names of the columns, lexicons and tests that each limit may be given for.

    Raises:
        UserError: A limit names something that does not exist.
    """
    measured = {
        "max_gap": [*_gaps(found.groups)],
        "max_changed": [*_shares(found.substitutions, "changed")],
        "max_difference": [*_differences(found.effects)],
        "min_pass_rate": [*_shares(found.tests.rename(columns={"test": "source"}), "passed")],
        "max_verbatim": [*_repeated(found.memory, VERBATIM)],
        "max_personal": [*_repeated(found.memory, PERSONAL)],
    }
    checks = []
    for limit, values in measured.items():
        for name, allowed in _limits(getattr(gate, limit), limit, names[limit]):
            own = [one for one in values if name is None or one[0] == name]
            checks.append(_check(limit, name or ", ".join(names[limit]), own, allowed, gate.certain))
    return checks


def _limits(limit: Limit, key: str, names: Iterable[str]) -> Iterator[tuple[str | None, float]]:
    """Name and value of each limit under a key; the name None stands for all."""
    if not isinstance(limit, dict):
        yield from [] if limit is None else [(None, limit)]
        return
    known = list(names)
    for name, allowed in limit.items():
        if name not in known:
            raise UserError(f"gate.{key} names {name!r}. {near(str(name), known)}")
        yield name, allowed


def _check(limit: str, names: str, values: list[Measured], allowed: float, certain: bool) -> Check:
    """The check of a limit by the value that is farthest beyond it."""
    known = [one for one in values if one[2] == one[2]]
    if not known:
        return Check(limit, names, None, allowed, kept=False)
    if limit.startswith("min"):
        worst = min(known, key=lambda one: one[4] if certain else one[2])
        kept = not (worst[4] if certain else worst[2]) < allowed
    else:
        worst = max(known, key=lambda one: one[3] if certain else one[2])
        kept = not (worst[3] if certain else worst[2]) > allowed
    return Check(limit, worst[1], worst[2], allowed, kept)


def _gaps(frame: pd.DataFrame) -> Iterator[Measured]:
    for row in frame.itertuples():
        yield row.column, f"{row.column} = {row.group}", *_size(row.gap, row.gap_low, row.gap_high)  # type: ignore[arg-type]


def _differences(frame: pd.DataFrame) -> Iterator[Measured]:
    for row in frame.itertuples():
        of = f"{row.outcome} with words of {row.other} instead of {row.group} ({row.source})"
        yield row.source, of, *_size(row.difference, row.low, row.high)  # type: ignore[arg-type]


def _shares(frame: pd.DataFrame, column: str) -> Iterator[Measured]:
    names = (column, "low", "high") if column == "passed" else (column, f"{column}_low", f"{column}_high")
    for source, *ends in frame[["source", *names]].itertuples(index=False):
        yield source, source, *ends


def _repeated(frame: pd.DataFrame, what: str) -> Iterator[Measured]:
    for row in frame[frame["what"] == what].itertuples():
        yield what, f"the share of texts with {what}", row.share, row.low, row.high  # type: ignore[misc]


def _size(value: float, low: float, high: float) -> tuple[float, float, float]:
    """The absolute value of a difference, and its interval; a part that is not known counts as 0 or as without bound."""
    ends = sorted(map(abs, (low, high)))
    if low != low or high != high:
        return abs(value), 0.0, float("inf")
    return abs(value), 0.0 if low <= 0 <= high else ends[0], ends[1]
