"""A study that is killed, and one that two runners share, end as if nothing had happened; `survival.py` kills more often."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.study.survival import STUDIES, disturbed, together, twelve_cells, undisturbed

ENDS: dict[str, dict[int, int]] = {  # number of cells by how often they finish
    "fixed": {1: 12},
    "sequential seeds": {},  # as many as the verdicts need, each once
    "stored states": {1: 12},
    "chosen rates": {1: 8, 2: 4},  # a trial that is chosen is evaluated on test later
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES)
def test_kills_change_nothing(tmp_path: Path, tiny: Any, sentiment: str, kind: str) -> None:
    ends = ENDS[kind]
    file = twelve_cells(tmp_path / "twelve.yaml", tiny(), sentiment, **STUDIES[kind])
    plain = undisturbed(file, tmp_path / "plain")
    assert bool(list(tmp_path.glob("plain-cache/ftlit/states/*.states"))) == ("probe" in file.read_text())
    counts = Counter(plain.finished.values())
    assert counts == ends if ends else (set(counts) == {1} and 6 <= counts.total() <= 12)
    for other in (disturbed(file, tmp_path / "rough", kills=3), together(file, tmp_path / "two")):
        assert other.results == plain.results
        assert other.finished == plain.finished
