"""The reader of the run folder: what a run has written, and runs that another version wrote."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import ftlit
from ftlit.errors import UserError
from ftlit.exports.run import open_run
from ftlit.runs.files import CONTENTS, SCHEMA
from ftlit.runs.reading import RunFolder
from tests.support.command_line import ROOT, refusal
from tests.support.data import sentiment_splits

OLD = ROOT / "tests/support/run_of_0_1"


@pytest.fixture
def run_dir(finished: Callable[[], Path]) -> Path:
    return finished()


def test_everything_in_the_folder_can_be_read(run_dir: Path) -> None:
    run = open_run(run_dir)
    assert (run.status, run.finished, run.record["schema"]) == ("completed", True, SCHEMA)
    assert run.config["run_dir"] == str(run_dir)
    assert run.results == json.loads((run_dir / "results.json").read_text())
    assert run.best_checkpoint == run_dir / "checkpoints/best.ckpt"
    assert run.last_checkpoint == run_dir / "checkpoints/last.ckpt"
    assert run.progress["steps"] == run.record["steps"] == 11
    written = {path.name for path in run_dir.iterdir()} - {path.name for path in run_dir.glob("*_*.*")}
    assert written <= set(CONTENTS)


def test_metrics_are_a_table_of_what_was_logged(run_dir: Path) -> None:
    metrics = open_run(run_dir).metrics
    assert list(metrics.columns[:2]) == ["step", "epoch"]
    assert metrics["train/loss"].count() == 11
    accuracy = metrics.dropna(subset="val/accuracy")
    assert accuracy["step"].tolist() == [11]
    assert accuracy["val/accuracy"].tolist() == pytest.approx([open_run(run_dir).results["validation"]["accuracy"]])


def test_predictions_are_a_table_in_the_order_of_the_split(run_dir: Path) -> None:
    run = open_run(run_dir)
    table = run.predictions("test")
    assert table["id"].tolist() == [f"test:{i}" for i in range(37)]
    assert table["text"].tolist() == [row["text"] for row in sentiment_splits()["test"]]
    assert (table["label"] == table["prediction"]).mean() == pytest.approx(run.results["test"]["accuracy"])
    with pytest.raises(UserError, match=r"has no predictions of train"):
        run.predictions("train")


def test_a_run_predicts(run_dir: Path) -> None:
    run = open_run(run_dir)
    table = run.predictions("test")
    found = run.predict(table["text"].tolist(), device="cpu")
    assert [row["prediction"] for row in found] == table["prediction"].tolist()
    assert "scores" in run.predict(["good"], scores=True, device="cpu")[0]


def test_a_folder_without_files_reads_as_a_run_that_has_not_begun(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert (run.record, run.results, run.progress, run.logged()) == ({}, {}, {}, [])
    assert (run.status, run.finished, run.best_checkpoint, run.last_checkpoint) == (None, False, None, None)
    assert isinstance(run.metrics, pd.DataFrame)
    assert run.metrics.empty


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "does not exist; expected a run folder"),
        ("file", "is a file; expected a run folder"),
        ("empty", "holds no run: it has no config.yaml"),
        ("", "holds no run: it has no config.yaml; there are runs in it: "),
    ],
)
def test_what_is_no_run_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    shutil.copytree(OLD, tmp_path / "run")
    with pytest.raises(UserError, match=said):
        open_run(tmp_path / name)


# Runs of other versions


def test_a_run_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"written by an earlier version of ftlit \(run.json has schema none, expected 1\)"):
        open_run(OLD)
    later = tmp_path / "later"
    shutil.copytree(OLD, later)
    (later / "run.json").write_text(json.dumps({**RunFolder(OLD).record, "schema": SCHEMA + 1}))
    with pytest.raises(UserError, match=r"written by a later version of ftlit \(run.json has schema 2, expected 1\)"):
        open_run(later)


@pytest.mark.parametrize(
    "command",
    [
        ["diff", "OLD", "RUN"],
        ["predict", "--run", "OLD", "--input", "-"],
        ["export", "--run", "OLD", "--output", "OUT"],
        ["fit", "--resume", "--run_dir", "OLD"],
        ["fit", "--config", "RUN/config.yaml", "--run_dir", "OUT", "--model.init_from", "OLD"],
        ["test", "--config", "RUN/config.yaml", "--run_dir", "OLD"],
    ],
    ids=lambda command: f"{command[0]} {command[1]}",
)
def test_commands_refuse_a_run_of_another_version(
    command: list[str], run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(run_dir, old)
    (old / "run.json").write_bytes((OLD / "run.json").read_bytes())
    names = {"OLD": str(old), "OUT": str(tmp_path / "out")}
    args = [names.get(arg, arg.replace("RUN", str(run_dir))) for arg in command]
    assert f"{old} was written by an earlier version of ftlit (run.json has schema none" in refusal(args, capsys)
    assert not (tmp_path / "out").exists()


def test_a_run_is_read_without_torch(run_dir: Path) -> None:
    code = f"import sys, ftlit; ftlit.open_run({str(run_dir)!r}).metrics; ftlit.Run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"
    assert ftlit.open_run is open_run
