"""A whole run through the command line, in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ftlit.cli import run
from tests.helpers import arguments


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_fit_leaves_the_run_folder_of_the_contract(
    architecture: str, tiny: Callable[[str], str], sentiment: str, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    backbone = {"model__backbone": tiny(architecture), "data__dataset": sentiment}
    run(arguments("fit", "TextClassification", "TextClassificationData", run_dir=run_dir, test_after_fit="true", **backbone))
    for name in ("config.yaml", "run.json", "metrics.csv", "results.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (run_dir / name).is_file(), name
    results = json.loads((run_dir / "results.json").read_text())
    assert results.keys() == {"validation", "test", "efficiency"}
    record = json.loads((run_dir / "run.json").read_text())
    assert record["status"] == "completed"
    lines = [json.loads(line) for line in (run_dir / "predictions/test.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"test:{i}" for i in range(37)]
    right = sum(line["label"] == line["prediction"] for line in lines) / len(lines)
    assert right == pytest.approx(results["test"]["accuracy"])
