"""Mistakes in configs, data and folders are refused in a sentence, leave nothing, and take no minute."""

from pathlib import Path

import pytest

from tests.support.mistakes import Case, all_cases, elsewhere, problem

SOME = 60  # of so many cases, one runs by default


def failures(cases: list[Case]) -> list[str]:
    return [f"{case.kind}: {case.name}: {why}" for case in cases if (why := problem(case))]


def test_some_mistakes_are_refused(tmp_path: Path) -> None:
    with elsewhere(tmp_path):
        cases = all_cases(tmp_path)
        assert len(cases) >= 400
        assert failures(cases[::SOME]) == []


@pytest.mark.matrix
@pytest.mark.parametrize("start", range(1, SOME, 4))
def test_all_mistakes_are_refused(start: int, tmp_path: Path) -> None:
    with elsewhere(tmp_path):
        cases = all_cases(tmp_path)
        assert failures([case for i, case in enumerate(cases) if start <= i % SOME < start + 4]) == []


@pytest.mark.slow
def test_mistakes_are_refused_by_processes_too(tmp_path: Path) -> None:
    with elsewhere(tmp_path):
        cases = [case for case in all_cases(tmp_path) if case.kind == "config"]
        assert [case.name for case in cases[7::500] if problem(case, in_process=False)] == []
