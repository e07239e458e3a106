"""A study that is killed, and one that two runners share, end as if nothing had happened; `survival.py` kills more often."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.study.survival import disturbed, together, twelve_cells, undisturbed

FROZEN = {"probe": {"model.tuning": "Frozen"}, "top": {"model.tuning": "TopLayers", "model.tuning.k": 1}}
RATES = {"over": {"model.optimizer.init_args.lr": [1e-4, 1e-3, 1e-2]}, "nested": True}
STUDIES: dict[str, tuple[dict[str, Any], dict[int, int]]] = {  # keys, and the number of cells by how often they finish
    "fixed": ({}, {1: 12}),
    "sequential": ({"seeds": {"at_least": 3, "at_most": 6}}, {}),  # as many as the verdicts need, each once
    "stored states": ({"axes": {"tuning": FROZEN}, "compare": {"metric": "accuracy", "baseline": "probe"}}, {1: 12}),
    "nested": ({"seeds": 2, "select": RATES}, {1: 8, 2: 4}),  # a trial that is chosen is evaluated on test later
}


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "ends"), STUDIES.values(), ids=STUDIES)
def test_kills_change_nothing(tmp_path: Path, tiny: Any, sentiment: str, keys: dict[str, Any], ends: dict[int, int]) -> None:
    file = twelve_cells(tmp_path / "twelve.yaml", tiny(), sentiment, **keys)
    plain = undisturbed(file, tmp_path / "plain")
    assert bool(list(tmp_path.glob("plain-cache/ftlit/states/*.states"))) == ("probe" in file.read_text())
    counts = Counter(plain.finished.values())
    assert counts == ends if ends else (set(counts) == {1} and 6 <= counts.total() <= 12)
    for other in (disturbed(file, tmp_path / "rough", kills=3), together(file, tmp_path / "two")):
        assert other.results == plain.results
        assert other.finished == plain.finished
