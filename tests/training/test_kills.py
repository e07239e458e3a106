"""A sample of `tests.support.kills`, which kills runs, fills their disk and starts two processes on one folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.kills import KINDS, kill_runs


@pytest.mark.parametrize(("kills", "epochs"), [(3, 6), pytest.param(12, 20, marks=pytest.mark.slow)])
def test_disturbed_runs_end_with_the_bits_of_an_undisturbed_one(
    kills: int, epochs: int, tiny: Callable[[str], str], sentiment: str, tmp_path: Path
) -> None:
    found = kill_runs(tmp_path, kills, tiny("bert"), sentiment, epochs)
    assert found.wrong == []
    assert [keys for keys in found.differing if keys] == []
    assert found.tried.total() == kills
    assert set(found.tried) == set(KINDS[:kills])
