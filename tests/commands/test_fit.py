"""A whole run through the command line, in this process."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftlit.commands.cli import run
from ftlit.commands.evaluate import Evaluation
from tests.support.command_line import arguments, ftlit
from tests.support.data import sentiment_splits, write_splits


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
    assert results.keys() == {"validation", "test", "intervals", "baseline", "efficiency"}
    record = json.loads((run_dir / "run.json").read_text())
    assert record["status"] == "completed"
    lines = [json.loads(line) for line in (run_dir / "predictions/test.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"test:{i}" for i in range(37)]
    right = sum(line["label"] == line["prediction"] for line in lines) / len(lines)
    assert right == pytest.approx(results["test"]["accuracy"])
    low, high = results["intervals"]["test"]["accuracy"]
    assert 0 <= low <= right <= high <= 1
    usual = max(("bad", "good"), key=[row["label"] for row in sentiment_splits()["train"]].count)
    assert results["baseline"]["test"]["accuracy"] == sum(line["label"] == usual for line in lines) / len(lines)
    assert results["baseline"]["test"]["mcc"] == 0
    assert record["higher_is_better"]["accuracy"] is True
    assert record["higher_is_better"]["loss"] is False
    assert record["monitor"] == "val/accuracy"


def test_the_best_checkpoint_is_evaluated_not_the_last(tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> None:
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}
    still = {"model__optimizer": "AdamW", "model__optimizer__lr": 1e-30}
    negated = {"trainer__max_epochs": 2, "trainer__callbacks": "tests.support.callbacks.Negated"}
    run(arguments("fit", "TextClassification", "TextClassificationData", test_after_fit="true", **given, **still, **negated))
    with (tmp_path / "run/metrics.csv").open() as file:
        first, last = [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    assert first + last == pytest.approx(1)
    assert first > last
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["validation"]["accuracy"] == pytest.approx(first)
    assert torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["global_step"] == 11


def test_a_metric_that_is_no_number_does_not_stop_the_run(
    tiny: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The correlation with targets that are all alike."""
    splits = {split: [{"text": f"word{i}", "label": float(i)} for i in range(16)] for split in ("train", "validation")}
    for row in splits["validation"]:
        row["label"] = 1.0
    folder = write_splits(tmp_path / "d", splits)
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": folder}
    run(arguments("fit", "TextRegression", "TextRegressionData", trainer__max_epochs=2, patience=2, **given))
    with (tmp_path / "run/metrics.csv").open() as file:
        found = [row["val/pearson"] for row in csv.DictReader(file) if row["val/pearson"]]
    assert found == ["nan", "nan"]
    said = "val/pearson was NaN at every validation (2 in all), so the best checkpoint is the first one; "
    assert said in capsys.readouterr().out


def test_a_run_says_what_matters_and_nothing_else(tiny: Callable[[str], str], tmp_path: Path) -> None:
    splits = sentiment_splits()
    splits["test"][3] = splits["train"][1]
    splits["train"][5] = {"text": "", "label": "good"}
    folder = write_splits(tmp_path / "d", splits)
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": folder}
    args = arguments(
        "fit", "TextClassification", "TextClassificationData", data__on_bad_rows="drop", test_after_fit="true", **given
    )
    said = [line.split() for line in ftlit(args).splitlines()]
    table = {row[0]: row[1:] for row in reversed(said) if row}  # the first line of each name
    assert said[:2] == [[], ["Data:", folder]]
    assert table["train"][:2] == ["82", "1"]
    assert table["test"][:2] == ["37", "0"]
    text = "\n".join(" ".join(words) for words in said)
    bad = sum(row["label"] == "bad" for row in splits["train"]) / 82
    assert f"labels of train: bad {bad:.1%}, good {1 - bad:.1%}" in text
    assert f"dropped from train: {folder}: train row 6: the text in column 'text' is empty" in text
    assert "validation rows that also occur in train: 0 exactly, 0 nearly" in text
    assert "test rows that also occur in train: 1 exactly, 0 nearly\ntrain:1 ~ test:3 (1.00): '" in text
    assert table["classifier"] == ["66", "66", "100.00%"]
    training = said[said.index(["all", "21,506", "21,506", "100.00%"]) + 1 :]
    assert training[: training.index(["Test,", "by", "label"])] == [[], []], "a library spoke during training"
    results = [row for row in said if row and row[0] == "accuracy"][-1]
    assert results[4] == "to", "the interval is beside the test score"
    assert ["metric", "validation", "test", "95%", "interval", "baseline"] in said
    assert training[-1] == ["Run", "folder:", str(tmp_path / "run")]


def test_the_progress_bar_shows_loss_metric_rate_and_time_left(
    tiny: Callable[[str], str],
    sentiment: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}
    run(arguments("fit", "TextClassification", "TextClassificationData", trainer__enable_progress_bar="true", **given))
    bars = [line for line in capsys.readouterr().out.replace("\r", "\n").splitlines() if line.startswith("Epoch 0")]
    pattern = r"Epoch 0: 100%\|█+\| 11/11 \[\d\d:\d\d<\d\d:\d\d, .*, loss=\d\.\d{3}, val/accuracy=\d\.\d{4}, examples/s=\d+\]"
    assert re.fullmatch(pattern, bars[-1])


def test_results_are_not_lost_if_they_have_no_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation: Any = object.__new__(Evaluation)
    evaluation.run_dir, evaluation.trainer = tmp_path, SimpleNamespace(is_global_zero=True)
    evaluation.model = SimpleNamespace(evidence="labels", hparams={}, constant_prediction=None)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/test.jsonl").write_text('{"id": "test:0", "prediction": 3}\n')
    assert evaluation._uncertainty({"test": {"accuracy": 1.0}}) == {}
    assert "The test scores have no intervals: KeyError: 'label'" in capsys.readouterr().out
