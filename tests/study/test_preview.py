"""The plan of a study: cells are counted at once, kinds of cells measured once, and sums are those of all cells left."""

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.commands.planning.preview import Preview
from ftlit.errors import UserError
from ftlit.study import profile as measured
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.file import read_study
from ftlit.study.preview import preview
from ftlit.study.running.check import first_cell
from ftlit.study.running.runner import duration
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.util.files import write_json
from tests.support.command_line import ROOT
from tests.support.study.synthetic import first_trials

MIB = 2**20
FOUND = Preview(
    step_seconds={"median": 0.1, "longest": 0.2},
    setup_seconds=2.0,
    train_seconds=30.0,
    validations=4,
    validation_seconds=1.0,
    evaluation_seconds={"validation": 4.0, "test": 20.0},
    peak_memory_bytes=300 * MIB,
    memory_bytes=1000 * MIB,
    best_bytes=10 * MIB,
    last_bytes=30 * MIB,
    prediction_bytes={"validation": MIB, "test": 2 * MIB},
)
LR = "model.optimizer.init_args.lr"
SELECT = {"over": {LR: [1e-4, 1e-3]}, "seeds": [0]}


def study(tmp_path: Path, **changes: Any) -> Path:
    """A study of two arms, with two trials and three repetitions each; the trial of the chosen rate is one of these."""
    base = {"model": {"class_path": "TextClassification"}, "data": {"class_path": "TextClassificationData"}}
    given = {
        "base": base,
        "axes": {"tuning": ["Full", "LoRA"]},
        "seeds": [0, 1, 2],
        "select": SELECT,
        "compare": {"metric": "accuracy", "baseline": "Full"},
        "folder": str(tmp_path / "folder"),
        "launch": {"jobs": 2},
        **changes,
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(given, sort_keys=False))
    return file


def planned(file: Path, found: Preview, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """The text of a plan whose cells all take the same, and the arms that were measured."""
    tried: list[str] = []

    def in_process(cell: Cell, *args: Any) -> Preview:
        tried.append(cell.arm.name)
        return found

    monkeypatch.setattr(measured, "_in_process", in_process)
    return preview(Plan(read_study(file)), 3, file), tried


def finish(folder: Folder, cell: Cell) -> None:
    """Make a cell look finished."""
    write_json(folder.run_dir(cell.name) / "results.json", {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.5}})
    write_json(folder.run_dir(cell.name) / "run.json", {"status": "completed", "versions": {}})


def test_a_thousand_cells_are_counted_at_once_without_torch(tmp_path: Path) -> None:
    file = study(
        tmp_path,
        axes={"tuning": ["Full", "LoRA", "BitFit", "Frozen"], "shots": [8, 16, 32, 64, 128], "max_epochs": [1, 2, 3, 4, 5]},
        seeds=8,
        select={"over": SELECT["over"], "seeds": [100]},
    )
    code = (
        "import sys; from ftlit.__main__ import main; "
        f"main(['study', 'run', {str(file)!r}, '--plan', '--steps', '0']); "
        "print(sorted({'torch', 'lightning', 'transformers', 'datasets', 'pandas'} & set(sys.modules)))"
    )
    begun = time.monotonic()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert time.monotonic() - begun < 5
    assert run.stdout.splitlines() == [
        f"study: 100 arms, at most 1,000 cells, in {tmp_path / 'folder'}",
        "2 trials of each arm, 200 in all",
        "8 repetitions of each arm, 800 in all",
        "1,000 cells left to run",
        "[]",
    ]
    assert not (tmp_path / "folder").exists()


def test_sums_are_those_of_trials_and_repetitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, tried = planned(study(tmp_path), FOUND, monkeypatch)
    assert tried == ["Full", "LoRA"]
    assert "2 trials of each arm, 1 of them also a repetition, 4 in all" in text
    assert "8 cells left to run" in text
    # Of each arm a trial of 2 + 30 + 4 + 4 s and three repetitions of 20 s more for test, two at a time.
    seconds = 2 * (40 + 3 * 60) / 2
    assert f"8 cells take {seconds / 60:.0f} min ({seconds / 3600:.2f} hours) with 2 at a time" in text
    # Best checkpoints and predictions of three repetitions, predictions of a trial; two last and two trials' best go again.
    assert "80 MiB of disk space in the end (keep: best), 160 MiB at most while it runs" in text
    assert "600 MiB of memory at most for 2 at a time on a device, which has 1,000 MiB" in text
    assert "will not fit" not in text


def test_what_is_done_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = study(tmp_path)
    plan = Plan(read_study(file))
    folder = Folder(plan.study.folder)
    folder.open(plan.study, file)
    arm = plan.arms[0]
    for cell in first_trials(plan, arm):
        finish(folder, cell)
    folder.fail(first_trials(plan, plan.arms[1])[1].name, "no")
    text, _ = planned(file, FOUND, monkeypatch)
    assert "5 cells left to run; 2 done, 1 failed" in text
    assert "5 cells take" in text


@pytest.mark.parametrize(("keep", "stay", "way"), [("none", 20, 100), ("all", 340, 400)])
def test_disk_is_what_the_study_keeps(keep: str, stay: int, way: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = planned(study(tmp_path, keep=keep), FOUND, monkeypatch)
    assert f"{stay} MiB of disk space in the end (keep: {keep}), {way} MiB at most while it runs" in text


def test_cells_that_do_not_fit_together_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = planned(study(tmp_path, launch={"jobs": 4}), FOUND, monkeypatch)
    assert "1,200 MiB of memory at most for 4 at a time on a device, which has 1,000 MiB: this will not fit" in text
    text, _ = planned(study(tmp_path), Preview(problem="this will not fit: memory ran out"), monkeypatch)
    assert "Full: this will not fit: memory ran out" in text


def test_arms_that_differ_in_rates_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"tuning": ["Full", "LoRA"], "warmup_ratio": [0.0, 0.1], "layer_decay": [0.9, 1.0]}
    _, tried = planned(study(tmp_path, axes=axes), FOUND, monkeypatch)
    assert tried == ["Full, 0.0, 0.9", "LoRA, 0.0, 0.9"]


def test_trials_of_halving_count_with_their_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select = {"over": {LR: [1e-4, 3e-4, 1e-3]}, "method": "halving"}
    file = study(tmp_path, select=select, set={"trainer.max_epochs": 4})
    text, _ = planned(file, FOUND, monkeypatch)
    assert "12 trials of each arm, 3 of them also a repetition, 24 in all" in text
    short, whole = 2 + (30 + 4) / 2 + 4, 2 + 30 + 4 + 4 + 20  # a third of 4 epochs, rounded up, is half of them
    seconds = 2 * 3 * (3 * short + whole) / 2
    assert f"24 cells take {duration(seconds)} ({seconds / 3600:.2f} hours) with 2 at a time" in text
    assert "those that select.method: halving cuts short are counted as such" in text
    plan = Plan(read_study(file))
    folder = Folder(plan.study.folder)
    for cell in Progress(plan, folder).cells:  # the first round
        finish(folder, cell)
    text, _ = planned(file, FOUND, monkeypatch)
    assert f"6 cells take {duration(3 * whole)} (" in text


def test_extended_lists_are_counted_once_they_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = study(tmp_path, select={"over": {LR: [1e-4, 3e-4, 1e-3]}, "extend": 1}, seeds=1)
    plan = Plan(read_study(file))
    folder = Folder(plan.study.folder)
    folder.open(plan.study, file)
    assert "2 arms, at most 6 cells and those of extended values" in preview(plan, 0, file)
    for cell in [cell for arm in plan.arms for cell in first_trials(plan, arm)]:
        finish(folder, cell)  # all alike, so the first of them is chosen
    assert "2 cells left to run; 6 done" in preview(plan, 0, file)
    assert {cell.chosen[LR] for cell in Progress(plan, folder).in_state("pending")} == {3e-5}


def test_other_selected_keys_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select = {"over": {**SELECT["over"], "trainer.max_epochs": [1, 9]}}
    text, _ = planned(study(tmp_path, select=select), FOUND, monkeypatch)
    assert (
        "select.over varies trainer.max_epochs, which may change these figures: they were measured with the first value" in text
    )


def test_cells_record_what_was_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = study(tmp_path)
    planned(file, FOUND, monkeypatch)
    plan = Plan(read_study(file))
    folder, cell = Folder(plan.study.folder), plan.repetitions(plan.arms[1], {})[0]
    finish(folder, cell)
    folder.note_predicted(cell)
    record = json.loads((folder.run_dir(cell.name) / "run.json").read_text())
    assert record["status"] == "completed"
    assert record["predicted"]["train_seconds"] == 30
    assert record["predicted"]["peak_memory_bytes"] == 300 * MIB
    assert record["predicted"]["checkpoint_bytes"] == 10 * MIB
    (folder.path / "plan.json").unlink()
    finish(folder, cell)
    folder.note_predicted(cell)
    assert "predicted" not in json.loads((folder.run_dir(cell.name) / "run.json").read_text())


def test_a_folder_of_another_study_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = study(tmp_path)
    Folder(tmp_path / "folder").open(replace(Plan(read_study(file)).study, name="another"), file)
    before = sorted((tmp_path / "folder").rglob("*"))
    text, _ = planned(file, FOUND, monkeypatch)
    assert "The plan was not saved:" in text
    assert "belongs to the study 'another'" in text
    assert sorted((tmp_path / "folder").rglob("*")) == before


def test_measurements_that_nobody_waits_for_end_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(read_study(study(tmp_path)))
    monkeypatch.setattr(measured, "_rehearsed", lambda *args: FOUND)
    monkeypatch.setattr(measured, "follow_parent", lambda: None)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    mine, theirs = multiprocessing.Pipe(duplex=False)
    mine.close()
    measured._answer(first_cell(plan, plan.arms[0]), 1, 1, None, theirs)


@pytest.mark.slow
def test_real_cells_are_measured(tmp_path: Path, tiny: Callable[[str], str], sentiment: str) -> None:
    base = {
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
        "model": {"class_path": "TextClassification", "init_args": {"backbone": tiny("bert")}},
        "data": {"class_path": "TextClassificationData", "init_args": {"dataset": sentiment}},
    }
    file = study(tmp_path, base=base, seeds=[0], select=None)
    text = preview(Plan(read_study(file)), 1, file)
    found = json.loads((tmp_path / "folder" / "plan.json").read_text())
    assert "2 cells take" in text
    assert {name: arm["steps"] for name, arm in found.items()} == {"Full": 3, "LoRA": 3}
    assert found["LoRA"]["best_bytes"] < found["Full"]["best_bytes"]
    assert found["Full"]["evaluation_seconds"].keys() == {"validation", "test"}
    assert list((tmp_path / "folder" / "cells").iterdir()) == []
    wrong = study(tmp_path, base=base, axes={"tuning": ["Full", "LORA"]}, seeds=[0], select=None)
    with pytest.raises(UserError, match=r"the arm 'LORA': there is no class 'LORA'. Did you mean 'LoRA'\?"):
        preview(Plan(read_study(wrong)), 1, wrong)
