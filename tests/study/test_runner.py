"""Cells that run, fail, die and go on, in the processes that users have."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.runs.checkpoint import read_checkpoint
from ftlit.runs.files import BEST, METRICS
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.launchers.sharing import Sharing
from ftlit.study.running.runner import MAX_DEATHS, Runner
from ftlit.study.running.worker import DISK_FULL, Job, arguments, clear_option_variables, finish_ended
from ftlit.study.state import folder as folders
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.study.status import status_text
from ftlit.util.files import read_json, write_json, write_text
from ftlit.util.settings import with_value
from tests.support.study.launched import count, opened, six_cells
from tests.support.study.synthetic import first_trials, made

LR = "model.optimizer.init_args.lr"


def run(plan: Plan, jobs: int = 2) -> tuple[Folder, list[str]]:
    """Run a study here; gives its folder and what the runner said."""
    folder, said = opened(plan), list[str]()
    Runner(plan, folder, Local(Sharing(jobs)), said.append).run()
    return folder, said


def metrics(folder: Folder) -> dict[str, dict[str, Any]]:
    """The metrics of every cell by its name and split."""
    found = {path.name: read_json(path / "results.json") for path in (folder.path / "cells").iterdir()}
    return {name: {split: results[split] for split in ("validation", "test")} for name, results in found.items()}


def edited(plan: Plan, **keys: Any) -> Plan:
    """A study of the same folder whose file has other keys."""
    file = plan.study.folder.parent / "six.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **keys}, sort_keys=False))
    return Plan(read_study(file))


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory, tiny: Any, sentiment: str) -> tuple[Plan, Folder, list[str]]:
    """A study that has been run."""
    plan = six_cells(tmp_path_factory.mktemp("six"), tiny(), sentiment)
    return plan, *run(plan)


def test_every_cell_once(six: tuple[Plan, Folder, list[str]]) -> None:
    plan, folder, said = six
    assert count(folder, "finished") == count(folder, "started") == 6
    assert sum(line.startswith("done") for line in said) == 6
    assert Progress(plan, folder).counts == {"done": 6}
    assert not list(folder.path.glob("cells/*/checkpoints/last.ckpt"))
    assert len(list(folder.path.glob("cells/*/checkpoints/best.ckpt"))) == 6
    text = status_text(Progress(plan, folder))
    assert "six: 6 done of 6 cells" in text
    assert "3/3" in text


def test_a_cell_is_what_fit_alone_does(six: tuple[Plan, Folder, list[str]], tmp_path: Path) -> None:
    _, folder, _ = six
    name = sorted(metrics(folder))[0]
    given = ["--run_dir", str(tmp_path / "alone"), "--test_after_fit=true", "--trainer.enable_progress_bar=false"]
    main(["fit", "--config", str(folder.config(name)), *given])
    alone, cell = tmp_path / "alone", folder.run_dir(name)
    found = read_json(alone / "results.json")
    assert {split: found[split] for split in ("validation", "test")} == metrics(folder)[name]
    for file in (METRICS, "predictions/validation.jsonl", "predictions/test.jsonl"):
        assert (cell / file).read_bytes() == (alone / file).read_bytes(), file
    weights = read_checkpoint(cell / BEST)["state_dict"], read_checkpoint(alone / BEST)["state_dict"]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_what_has_finished_stays(six: tuple[Plan, Folder, list[str]]) -> None:
    plan, folder, _ = six
    before, started = metrics(folder), count(folder, "started")
    run(plan)
    assert count(folder, "started") == started
    run(edited(plan, seeds=4))
    assert count(folder, "started") == started + 2  # the fourth seed of both arms
    assert before.items() <= metrics(folder).items()


def test_a_failure_is_recorded_and_the_others_go_on(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    top = {"model.tuning": {"class_path": "TopLayers", "init_args": {"k": 99}}}
    plan = edited(plan, axes={"tuning": {"full": {"model.tuning": "Full"}, "top": top}}, seeds=1)
    folder, said = run(plan)
    progress = Progress(plan, folder)
    assert progress.counts == {"done": 1, "failed": 1}
    error = folder.error(progress.in_state("failed")[0].name)
    assert error == "model.tuning.k is 99, but BertModel has 2 layers"
    assert f"failed  top seed 0: {error}" in said
    assert error in status_text(progress)
    run(plan)
    assert count(folder, "failed") == 1  # not tried again by itself
    assert folder.clear_failures() == [progress.in_state("failed")[0].name]
    run(plan)
    assert count(folder, "failed") == 2


@pytest.mark.slow
def test_selection_reads_no_test(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = edited(six_cells(tmp_path, tiny(), sentiment), seeds=2, select={"over": {LR: [1e-5, 1e-2]}, "nested": False})
    folder, _ = run(plan)
    progress = Progress(plan, folder)
    assert progress.counts == {"done": 6}
    for arm in progress.arms:
        scores = {cell.chosen[LR]: folder.score(cell, "accuracy") for cell in arm.trials}
        assert scores[arm.choices[0][LR]] == max(scores.values())  # type: ignore[type-var]
        final = {cell.name for cell in arm.repetitions}
        for cell in arm.trials:
            assert ("test" in read_json(folder.run_dir(cell.name) / "results.json")) == (cell.name in final)
    trained = [read_json(path)["started"] for path in folder.path.glob("cells/*/run.json")]
    assert len(trained) == 6  # a trial that won is not trained again


def test_a_killed_cell_goes_on(six: tuple[Plan, Folder, list[str]], tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = edited(six_cells(tmp_path, tiny(), sentiment), seeds=[0])
    folder, killed = opened(plan), list[int]()

    def kill() -> None:
        while not killed:
            for path in folder.path.glob("cells/*/progress.json"):
                pid = int(folder.history()[-1]["by"].split(":")[1])
                if read_json(path).get("step", 0) and pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    said: list[str] = []
    Runner(plan, folder, Local(Sharing()), said.append).run()
    thread.join()
    assert any("continues from its last checkpoint" in line for line in said)
    assert count(folder, "finished") == 2
    assert count(folder, "started") == 3
    assert metrics(folder).items() <= metrics(six[1]).items()


class Dying:
    """An executor all of whose jobs end at once with the same code."""

    def __init__(self, code: int) -> None:
        self.code, self.running, self.free = code, list[str](), 1

    def submit(self, job: Job) -> None:
        self.running.append(job.cell.name)

    def wait(self, seconds: float) -> dict[str, int]:
        ended, self.running = self.running, []
        return dict.fromkeys(ended, self.code)

    def close(self) -> None:
        pass


def test_patience_ends(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    folder, said = opened(plan), list[str]()
    Runner(plan, folder, Dying(-9), said.append).run()
    assert Progress(plan, folder).counts == {"failed": 6}
    assert sum(line.startswith("died") for line in said) == 6 * (MAX_DEATHS - 1)
    error = folder.error(Progress(plan, folder).cells[0].name)
    assert error == f"its process died {MAX_DEATHS} times, last by signal 9; with signal 9, memory may have run out"


def test_a_full_disk_stops_the_runner(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    folder = opened(plan)
    with pytest.raises(UserError, match=r"no space is left on the disk of .*Finished cells are kept"):
        Runner(plan, folder, Dying(DISK_FULL), str).run()
    assert Progress(plan, folder).counts == {"pending": 6}  # none counts as failed


def test_a_claim_is_for_one_process(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    folder = opened(plan)
    name = Progress(plan, folder).cells[0].name
    with folder.claim(name) as first, Folder(folder.path).claim(name) as second:
        assert (first, second) == (True, False)
        assert Progress(plan, Folder(folder.path)).counts == {"running": 1, "pending": 5}
    assert not folder.claimed(name)


def test_options_of_the_environment_do_not_reach_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTLIT_FIT__PATIENCE", "5")
    monkeypatch.setenv("FTLITTLE", "stays")
    clear_option_variables()
    assert "FTLIT_FIT__PATIENCE" not in os.environ
    assert os.environ["FTLITTLE"] == "stays"


def test_a_folder_belongs_to_one_study(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    opened(plan)
    with pytest.raises(UserError, match=r"belongs to the study 'six' .*, not to 'other'; choose another folder"):
        Folder(plan.study.folder).open(replace(plan.study, name="other"), tmp_path / "other.yaml")
    with pytest.raises(UserError, match="is not empty and holds no study"):
        Folder(tmp_path).open(plan.study, tmp_path / "six.yaml")


@pytest.mark.parametrize("step", ["write_json", "write_config"])
def test_two_runners_open_a_new_folder_at_once(tmp_path: Path, tiny: Any, sentiment: str, monkeypatch: Any, step: str) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    write, others = getattr(folders, step), []

    def write_twice(path: Path, content: Any) -> None:
        if not others:
            others.append(path)
            path.parent.mkdir(exist_ok=True)
            path.with_name("study.json.host-1.part").touch()  # another runner has begun its record
            opened(plan)
        write(path, content)

    monkeypatch.setattr(folders, step, write_twice)
    opened(plan)
    assert others
    assert read_json(plan.study.folder / "study.json")["name"] == "six"


def test_all_machines_train_cells_in_one_precision(tmp_path: Path) -> None:
    """The default depends on the device, and the name of a cell does not."""
    plan = six_cells(tmp_path, "model", "data")
    folder, cell = opened(plan), plan.repetitions(plan.arms[0], {})[0]
    folder.settle_precision({"cpu": "bf16-mixed", "auto": "32-true"})
    folder.open(plan.study, tmp_path / "six.yaml")  # again, on another machine
    folder.settle_precision({"cpu": "32-true"})
    folder.write_config(cell)
    assert yaml.safe_load(folder.config(cell.name).read_text())["trainer"]["precision"] == "bf16-mixed"
    own = replace(cell, config=with_value(cell.config, "trainer.precision", "64-true"))
    folder.write_config(own)
    assert yaml.safe_load(folder.config(own.name).read_text())["trainer"]["precision"] == "64-true"


def test_cells_of_a_folder_go_on_in_the_precision_of_those_before(tmp_path: Path) -> None:
    plan = six_cells(tmp_path, "model", "data")
    folder, (first, second, *_) = opened(plan), plan.repetitions(plan.arms[0], {})
    folder.write_config(first)
    folder.run_dir(first.name).mkdir()
    write_json(folder.run_dir(first.name) / "run.json", {"status": "completed", "versions": {}, "precision": "bf16-mixed"})
    folder.settle_precision({"cpu": "32-true"})
    folder.write_config(second)
    assert yaml.safe_load(folder.config(second.name).read_text())["trainer"]["precision"] == "bf16-mixed"


CHECKS = [
    ({"axes": {"tuning": {"full": {"model.tuning": "Full"}, "lora": {"model.tuning": "Lora"}}}}, "Did you mean 'LoRA'?"),
    ({"axes": {"decay": {"a": {"model.layer_decoy": 0.9}, "b": {"model.layer_decay": 0.8}}}}, "Did you mean 'layer_decay'?"),
    (
        {"compare": {"metric": "acuracy"}},
        "compare.metric 'acuracy' is not a metric of the arm 'full'. Did you mean 'accuracy'?",
    ),
    ({"set": {"data.text": "words"}}, "words"),
    (
        {"axes": {"tuning": {"full": {"model.tuning": "Full"}, "again": {"model.tuning": {"class_path": "Full"}}}}},
        "the arms 'full' and 'again' have the same config",
    ),
]


@pytest.mark.parametrize(("keys", "text"), CHECKS, ids=[text[-30:] for _, text in CHECKS])
def test_mistakes_are_found_before_anything_runs(
    tmp_path: Path, tiny: Any, sentiment: str, keys: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = {} if "compare" in keys else {"compare": {"metric": "accuracy"}}
    plan = edited(six_cells(tmp_path, tiny(), sentiment), **compare, **keys)
    with pytest.raises(SystemExit) as left:
        main(["study", "run", str(tmp_path / "six.yaml")])
    assert left.value.code == 2
    assert text in capsys.readouterr().err
    assert not plan.study.folder.exists()


def test_a_cell_that_ended_just_before_it_was_killed_is_finished(tmp_path: Path) -> None:
    plan, folder = made(tmp_path)
    ended, running, *_ = cells = Progress(plan, folder).cells
    folder.note("started", ended.name)
    folder.note("started", running.name)
    before = len(folder.history())
    with folder.claim(running.name):
        finish_ended(folder, cells, "best")
    assert [(line["event"], line["cell"]) for line in folder.history()[before:]] == [("finished", ended.name)]


@pytest.mark.parametrize(("checkpoint", "command"), [(True, "test"), (False, "fit")])
def test_a_trial_that_becomes_a_repetition(checkpoint: bool, command: str, tmp_path: Path) -> None:
    """Trials that were not chosen lose their checkpoints, so they train again when an edited study repeats them."""
    plan, folder = made(tmp_path)
    cell = replace(first_trials(plan, plan.arms[0])[0], final=True)
    if checkpoint:
        write_text(folder.run_dir(cell.name) / BEST, "weights")
    given = arguments(Job(folder.path, cell, "test", "best", 1), folder)
    assert given[0] == command
    assert ("--overwrite" in given) == (command == "fit")
