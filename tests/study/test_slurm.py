"""The launcher for Slurm, with commands that only say what Slurm would; test_launchers.py has a real one."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ftlit.errors import UserError
from ftlit.study.plan.cells import Plan
from ftlit.study.running.launchers import slurm
from ftlit.study.running.launchers.slurm import Worker, run_on_slurm
from ftlit.study.running.runner import Runner
from ftlit.study.state.folder import Folder
from ftlit.util.files import read_json
from tests.support.study.launched import opened, six_cells

pytest.importorskip("submitit")
FILE = Path("six.yaml")
Made = Callable[..., tuple[Plan, Folder]]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sbatch, which counts its calls, srun, and squeue, which prints the file `queue`."""
    folder = tmp_path / "commands"
    folder.mkdir()
    for name, text in (("sbatch", f"echo >> {folder}/calls; echo Submitted batch job $(wc -l < {folder}/calls)"),
                       ("srun", "true"), ("squeue", f"cat {folder}/queue")):  # fmt: skip
        _command(folder, name, text)
    _queue(folder)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "QUEUE_POLL_SECONDS", 0.0)
    return folder


def _command(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def _queue(folder: Path, *states: str) -> None:
    (folder / "queue").write_text("".join(f"{state}\n" for state in states))


def _calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A study of six cells that was not run, and its folder."""

    def make(**parameters: object) -> tuple[Plan, Folder]:
        plan = six_cells(tmp_path, "a-model", "some-data", launcher="slurm", jobs=2, slurm=parameters)
        return plan, opened(plan)

    return make


def test_submitit_is_asked_for(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"needs the package submitit: pip install -e '\.\[slurm\]'"):
        run_on_slurm(*made(), FILE)


def test_slurm_is_asked_for(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs Slurm's commands, and sbatch is not installed; run the study on a login node"):
        run_on_slurm(*made(), FILE)


def test_unknown_parameter_is_named(made: Made, commands: Path) -> None:
    with pytest.raises(UserError, match=r"launch.slurm has the key 'slurm_partion'. Did you mean 'slurm_partition'\?"):
        run_on_slurm(*made(slurm_partion="gpu"), FILE)


def test_parameter_of_another_kind_is_named(made: Made, commands: Path) -> None:
    with pytest.raises(UserError, match=r'launch.slurm .*Parameter "timeout_min" expected type'):
        run_on_slurm(*made(timeout_min="long"), FILE)


def test_refusal_of_sbatch_is_told(made: Made, commands: Path) -> None:
    _command(commands, "sbatch", "echo sbatch: error: invalid partition specified: gpus >&2; exit 1")
    with pytest.raises(UserError, match=r"sbatch refused launch.slurm \{'slurm_partition': 'gpus'\}: .*invalid partition"):
        run_on_slurm(*made(slurm_partition="gpus"), FILE)


def test_sbatch_is_told_what_the_study_says(made: Made, commands: Path) -> None:
    plan, folder = made(slurm_partition="gpu", timeout_min=90, gpus_per_node=1, slurm_additional_parameters={"nice": 100})
    with pytest.raises(UserError):
        run_on_slurm(plan, folder, FILE)
    script = (folder.path / "slurm" / "1_submission.sh").read_text()
    for option in ("partition=gpu", "time=90", "gpus-per-node=1", "cpus-per-task=1", "nice=100", "array=0-1%2",
                   "job-name=six", "signal=USR2@90"):  # fmt: skip
        assert f"#SBATCH --{option}\n" in script


def test_workers_that_end_early_are_told_with_the_end_of_their_log(made: Made, commands: Path) -> None:
    plan, folder = made()
    logs = folder.path / "slurm"
    logs.mkdir()
    (logs / "1_0_0_log.out").write_text("submitit INFO: starting\nslurmstepd: error: Detected 1 oom-kill event\n")
    with pytest.raises(UserError, match=r"the Slurm job 1 ended before the study did; its log says: .*\n.*oom-kill event"):
        run_on_slurm(plan, folder, FILE)
    (logs / "2_0_0_log.out").write_text("submitit INFO: starting\nerror: no space is left for study\nsubmitit INFO: done\n")
    with pytest.raises(UserError, match=r"its log says: no space is left for study$"):
        run_on_slurm(plan, folder, FILE)


def test_ctrl_c_leaves_the_workers_and_the_same_command_joins_them(
    made: Made, commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    plan, folder = made()
    _queue(commands, "RUNNING", "PENDING")
    monkeypatch.setattr(slurm.time, "sleep", interrupt)
    for _ in range(2):
        with pytest.raises(SystemExit, match="130"):
            run_on_slurm(plan, folder, FILE)
    assert _calls(commands) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "6 pending of 6 cells; workers of the Slurm job 1: 1 pending, 1 running" in lines
    assert lines[-1] == "the Slurm job 1 keeps running: ftlit study run six.yaml joins it, scancel 1 ends it"


def test_workers_that_have_gone_are_not_joined(made: Made, commands: Path) -> None:
    plan, folder = made()
    for count in (1, 2):
        with pytest.raises(UserError, match=f"the Slurm job {count} ended"):
            run_on_slurm(plan, folder, FILE)
        assert read_json(folder.path / "slurm" / "array.json") == {"job": str(count), "workers": 2}


def test_silent_controller_is_no_empty_queue(commands: Path, tmp_path: Path) -> None:
    array = slurm.Array("1", tmp_path)
    _command(commands, "squeue", "echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1")
    assert array.states()
    _command(commands, "squeue", "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1")
    assert not array.states()


def test_worker_is_queued_again_as_it_is(made: Made, tmp_path: Path) -> None:
    from submitit.core.utils import DelayedSubmission

    worker = Worker(made()[0])
    DelayedSubmission(worker, 3).dump(tmp_path / "submitted.pkl")
    again = DelayedSubmission.load(tmp_path / "submitted.pkl")._checkpoint_function()
    assert again is not None
    assert again.args == (3,)
    assert again.function.plan.study == worker.plan.study


def test_worker_says_mistakes_and_is_no_rank(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    def run(self: Runner) -> None:
        assert not SLURMEnvironment.detect()
        raise UserError("no space is left for study")

    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr(Runner, "run", run)
    Worker(made()[0])(0)
    assert capsys.readouterr().out == "error: no space is left for study\n"
