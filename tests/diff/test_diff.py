"""What differs between two runs: keys in order of effect, metrics with intervals, and what cannot be compared."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from ftlit.__main__ import main
from ftlit.diff.metrics import OUTDATED
from ftlit.diff.settings import place
from ftlit.util.settings import flat
from tests.support.run_folders import RECORD, Make, accuracy, answers, changed


def as_json(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main(["diff", *args, "--json"])
    return json.loads(capsys.readouterr().out)


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, which leaves with code 2."""
    with pytest.raises(SystemExit) as left:
        main(["diff", *args])
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def test_differences_come_in_order_of_their_effect(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config = changed(
        tuning={"class_path": "ftlit.LoRA", "init_args": {"r": 8}},
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-4}},
        backbone="roberta",
    )
    config = {**config, "seed_everything": 1, "trainer": {"max_epochs": 3, "enable_progress_bar": False}}
    rows = answers(0, 0.7)
    other = {
        "data": {"splits": {"train": {"rows": 90, "fingerprint": "f9"}, "test": RECORD["data"]["splits"]["test"]}},
        "git": {"commit": "decade", "dirty": True},
        "versions": {"torch": "2.6.0", "ftlit": "0.1.0"},
        "hardware": {"processor": "A", "gpus": ["H100"]},
    }
    found = as_json([make("a", rows), make("b", rows, config, **other)], capsys)
    assert [(item["kind"], item["key"], item["a"], item["b"]) for item in found["differences"]] == [
        ("data", "fingerprint.train", "f1", "f9"),
        ("data", "rows.train", 80, 90),
        ("config", "model.backbone", "bert", "roberta"),
        ("config", "model.tuning.class_path", "ftlit.Full", "ftlit.LoRA"),
        ("config", "model.tuning.r", None, 8),
        ("config", "seed_everything", 0, 1),
        ("config", "model.optimizer.lr", 1e-4, 3e-4),
        ("code", "git.commit", "c0ffee", "decade"),
        ("code", "git.dirty", False, True),
        ("versions", "versions.torch", "2.13.0", "2.6.0"),
        ("hardware", "hardware.gpus", [], ["H100"]),
        ("config", "trainer.enable_progress_bar", None, False),
    ]
    assert any("b ran with uncommitted changes" in note for note in found["notes"])


def test_the_longest_prefix_places_a_key() -> None:
    keys = [
        "data.batching.batch_size",
        "data.max_length",
        "model.n_best",
        "model.optimizer.weight_decay",
        "versions.numpy",
        "mine",
    ]
    expected = [
        "data.max_length",
        "model.optimizer.weight_decay",
        "data.batching.batch_size",
        "model.n_best",
        "mine",
        "versions.numpy",
    ]
    assert sorted(keys, key=place) == expected
    assert place("data.seed") < place("data.seeded") == place("data.of_a_user")


def test_keys_are_those_of_the_command_line() -> None:
    config = {"a": {"class_path": "C", "init_args": {"b": {"class_path": "D", "init_args": {"c": [1, 2]}}}}, "d": [{"e": 1}]}
    assert dict(flat(config)) == {"a.class_path": "C", "a.b.class_path": "D", "a.b.c": [1, 2], "d.0.e": 1}


def test_equal_runs_say_so(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    main(["diff", make("a", rows), make("b", rows)])
    said = capsys.readouterr().out
    assert "The runs do not differ in config, data, code, versions or hardware." in said
    assert "Metrics on test: all 2 are the same." in said


def test_a_metric_has_its_interval_and_test(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = answers(0, 0.5), answers(1, 0.9)
    folders = [make("a", one), make("b", two[::-1])]
    loss, found = as_json(folders, capsys)["metrics"]
    assert loss == {"metric": "loss", "a": 0.5, "b": 0.5, "difference": 0.0} | dict.fromkeys(("low", "high", "p", "test"))
    assert found["difference"] == pytest.approx(accuracy(two) - accuracy(one))
    assert found["low"] < found["difference"] < found["high"]
    right = [[row["label"] == row["prediction"] for row in rows] for rows in (one, two)]
    table = np.histogram2d(*np.array(right).astype(int), bins=2)[0]
    assert (found["p"], found["test"]) == (pytest.approx(mcnemar(table, exact=True).pvalue), "McNemar")
    main(["diff", *folders])
    said = capsys.readouterr().out
    assert f"{found['low']:+.4f} to {found['high']:+.4f}" in said
    assert "Comparing the methods behind them takes several seeds" in said


def test_two_trained_runs(finished: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json([str(finished("Full")), str(finished("LoRA"))], capsys)
    config = {item["key"]: (item["a"], item["b"]) for item in found["differences"] if item["kind"] == "config"}
    assert config["model.tuning.class_path"] == ("ftlit.Full", "ftlit.LoRA")
    assert config["model.tuning.r"] == (None, 2)
    assert not {"model.backbone", "data.dataset", "model.optimizer.lr"} & config.keys()
    (accuracy,) = (metric for metric in found["metrics"] if metric["metric"] == "accuracy")
    assert accuracy["difference"] == pytest.approx(accuracy["b"] - accuracy["a"])
    assert accuracy["low"] <= accuracy["difference"] <= accuracy["high"]


def test_other_data_have_no_interval(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    found = as_json([make("a", rows), make("b", rows[1:])], capsys)
    assert [metric["low"] for metric in found["metrics"]] == [None, None]
    assert found["metrics"][1]["difference"] == pytest.approx(accuracy(rows[1:]) - accuracy(rows))
    assert any(
        "no intervals: " in note and "different data" in note and "'test:0' is only in " in note for note in found["notes"]
    )


def test_predictions_of_another_evaluation_have_no_interval(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    stale = make("b", rows, results={"test": {"accuracy": 0.25, "f1_macro": 0.1}})
    found = {metric["metric"]: metric for metric in as_json([make("a", rows), stale], capsys)["metrics"]}
    assert (found["accuracy"]["low"], found["accuracy"]["test"]) == (None, OUTDATED)
    assert (found["f1_macro"]["a"], found["f1_macro"]["b"], found["f1_macro"]["difference"]) == (None, 0.1, None)


def test_a_setting_that_changes_what_a_metric_counts(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    found = as_json([make("a", rows), make("b", rows, changed(negative_label="Other"))], capsys)
    assert any("model.negative_label differs" in note for note in found["notes"])
    assert found["metrics"][1]["low"] is None


def test_an_unfinished_run_and_another_task_are_compared_without_metrics(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = answers(0, 0.7)
    done = make("a", rows)
    failed = make("b", rows, changed(backbone="x"), status="failed", error="OSError: no such file")
    found = as_json([done, failed], capsys)
    assert (found["split"], found["metrics"]) == (None, [])
    assert found["differences"][0]["key"] == "model.backbone"
    assert any("its status is failed (OSError: no such file)" in note for note in found["notes"])
    found = as_json([done, make("c", rows, task="TextRegression", evidence="values")], capsys)
    assert found["metrics"] == []
    assert any("The tasks differ (TextClassification and TextRegression)" in note for note in found["notes"])


def test_a_subclass_is_compared_with_its_task(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = answers(0, 0.5), answers(1, 0.9)
    plain = as_json([make("a", one), make("b", two)], capsys)["metrics"]
    assert as_json([make("c", one), make("d", two, task="MyClassifier")], capsys)["metrics"] == plain
    assert plain[1]["test"] == "McNemar"


def test_a_task_without_evidence_has_no_intervals(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows, own = answers(0, 0.7), {"task": "MyTask", "evidence": None}
    found = as_json([make("a", rows, **own), make("b", answers(1, 0.9), **own)], capsys)
    assert [metric["low"] for metric in found["metrics"]] == [None, None]
    assert "no intervals: the task MyTask declares no kind of evidence." in found["notes"][0]


def test_a_loss_that_is_no_number_is_null_in_json(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    found = as_json([make("a", rows), make("b", rows, results={"test": {"loss": float("nan")}})], capsys)
    assert [found["metrics"][0][key] for key in ("a", "b", "difference")] == [0.5, None, None]


def test_the_split(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    both = make("a", rows, results={"test": {"loss": 1.0}, "validation": {"loss": 2.0}})
    folders = [both, make("b", rows, results={"validation": {"loss": 3.0}})]
    assert as_json(folders, capsys)["metrics"][0]["b"] == 3.0
    assert "b has no results for test; `python -m ftlit test --config " in refused([*folders, "--split", "test"], capsys)
    none = make("c", rows, results={})
    assert "a has results for test, validation and " in refused([both, none], capsys)


def test_folders_that_cannot_be_compared(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make("a", answers(0, 0.7))
    assert "nowhere does not exist; expected a run folder" in refused([run, f"{tmp_path}/nowhere"], capsys)
    assert f"config.yaml; there are runs in it: {run}" in refused([run, str(tmp_path)], capsys)
    assert "is a file; expected a run folder" in refused([run, f"{run}/run.json"], capsys)
    assert "is given twice" in refused([run, f"{run}/"], capsys)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], "error: the following arguments are required: run_a, run_b; see ftlit diff --help"),
        (["a", "b", "c"], "error: unrecognized arguments: c; see ftlit diff --help"),
        (["a", "b", "--js"], "error: unrecognized arguments: --js; see ftlit diff --help"),
        (["a", "b", "--split", "train"], "error: argument --split: invalid choice: 'train' (choose from"),
    ],
)
def test_a_wrong_command_gets_one_line(args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(args, capsys).startswith(line)


@pytest.mark.parametrize("module", ["ftlit.diff.command", "ftlit.diff.arms.text"])
def test_it_starts_without_torch(module: str) -> None:
    code = f"import {module}, sys; print({{'torch', 'lightning', 'transformers'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
