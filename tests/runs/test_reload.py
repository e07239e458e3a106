"""A run of every tuning method, opened by a fresh process, says what it said: bit for bit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.commands.cli import run
from tests.support.command_line import ROOT, arguments

pytestmark = pytest.mark.slow

METHODS: dict[str, dict[str, Any]] = {
    "Full": {},
    "Frozen": {},
    "TopLayers": {"k": 1},
    "BitFit": {},
    "LoRA": {"r": 2},
    "DoRA": {"r": 2, "dora": "true"},
    "rsLoRA": {"r": 2, "rslora": "true"},
}
# For each run: evaluates its best checkpoint again into another folder, and labels the texts of test as new ones.
SCRIPT = """
import json, sys
from pathlib import Path
import ftlit
from ftlit.commands.cli import run

rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
for folder in map(Path, sys.argv[2:]):
    sys.argv[1:] = []
    best = f"{folder}/checkpoints/best.ckpt"
    run(["test", "--config", f"{folder}/config.yaml", "--run_dir", f"{folder}/again", "--ckpt_path", best])
    predictor = ftlit.load(folder)
    found = {size: predictor([row["text"] for row in rows], batch_size=size, scores=True) for size in (8, 1)}
    (folder / "fresh.json").write_text(json.dumps(found))
"""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(method: str, folder: Path, backbone: str, dataset: str) -> Path:
    """A finished run of a tuning method."""
    kind = "LoRA" if "LoRA" in method or method == "DoRA" else method
    options = {f"model__tuning__{key}": value for key, value in METHODS[method].items()}
    rate = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.01}
    data = {"data__dataset": dataset, "data__limit_train": 40}
    given = {"model__backbone": backbone, "model__tuning": kind, **data, **options, **rate}
    run(arguments("fit", "TextClassification", "TextClassificationData", run_dir=folder, test_after_fit="true", **given))
    return folder


@pytest.fixture(scope="module")
def runs(tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of all methods, each with what a fresh process found of it."""
    root = tmp_path_factory.mktemp("reload")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        folders = {method: train(method, root / method, tiny("bert"), sentiment) for method in METHODS}
    command = [sys.executable, "-c", SCRIPT, f"{sentiment}/test.jsonl", *map(str, folders.values())]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("method", METHODS)
def test_evaluating_again_writes_the_same_bytes(method: str, runs: dict[str, Path]) -> None:
    folder = runs[method]
    for name in ("predictions/test.jsonl", "test_report.json"):
        assert (folder / "again" / name).read_bytes() == (folder / name).read_bytes(), name
    results = [json.loads((path / "results.json").read_text())["test"] for path in (folder, folder / "again")]
    assert results[0] == results[1]


@pytest.mark.parametrize("method", METHODS)
def test_predicting_gives_the_scores_of_the_run(method: str, runs: dict[str, Path]) -> None:
    """In batches of the run's size the texts are cut as in its evaluation, so every bit is the same."""
    fresh, expected = json.loads((runs[method] / "fresh.json").read_text()), lines(runs[method] / "predictions/test.jsonl")
    assert len(expected) == len(fresh["8"]) == 37
    assert [row["scores"] for row in fresh["8"]] == [row["scores"] for row in expected]
    for found, row in zip(fresh["1"], expected, strict=True):
        assert found["prediction"] == row["prediction"]
        assert found["scores"] == pytest.approx(row["scores"], abs=1e-6)


def test_the_runs_learned_something_of_their_own(runs: dict[str, Path]) -> None:
    """So that the comparisons above would notice an untrained model, or that of another method."""
    scores = {lines(folder / "predictions/test.jsonl")[0]["score"] for folder in runs.values()}
    assert len(scores) == len(METHODS)
    tuned = {method: json.loads((folder / "run.json").read_text())["tuning"] for method, folder in runs.items()}
    assert tuned["DoRA"] == (
        "LoRA(r=2, alpha=16.0, dropout=0.0, targets='all-linear', layers=None, dora=True, rslora=False, init='default')"
    )


def test_small_checkpoints(runs: dict[str, Path]) -> None:
    sizes = {method: (folder / "checkpoints/best.ckpt").stat().st_size for method, folder in runs.items()}
    assert sizes["Frozen"] < sizes["BitFit"] < sizes["TopLayers"] < sizes["Full"]
    assert sizes["LoRA"] < sizes["DoRA"] < sizes["Full"]
