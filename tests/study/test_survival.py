"""A study that is killed, and one that two runners share, end as if nothing had happened; `survival.py` kills more often."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.study.survival import disturbed, together, twelve_cells, undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [6, {"at_least": 3, "at_most": 6}], ids=["fixed", "sequential"])
def test_kills_change_nothing(tmp_path: Path, tiny: Any, sentiment: str, seeds: Any) -> None:
    file = twelve_cells(tmp_path / "twelve.yaml", tiny(), sentiment, seeds)
    plain = undisturbed(file, tmp_path / "plain")
    assert set(plain.finished.values()) == {1}
    for other in (disturbed(file, tmp_path / "rough", kills=3), together(file, tmp_path / "two")):
        assert other.results == plain.results
        assert other.finished == plain.finished
