"""The launcher for Ray without a cluster; test_launchers.py has a real one."""

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftlit.errors import UserError
from ftlit.study.plan.settings import LaunchSettings
from ftlit.study.running.launchers import ray as launcher
from ftlit.study.running.launchers.ray import Ray, run_cell
from ftlit.study.running.worker import ALREADY_CLAIMED, DISK_FULL, DONE, FAILED, Job
from tests.support.study.launched import six_cells

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands for the package: a cluster of 8 processors and 2 GPUs whose tasks end at once, as `answer` says."""

    def get(task: str) -> int:
        if isinstance(fake.answer, Exception):
            raise fake.answer
        return fake.answer

    fake = SimpleNamespace(
        answer=DONE, given={}, exceptions=ray.exceptions, is_initialized=lambda: True, get=get,
        cluster_resources=lambda: {"CPU": 8.0, "GPU": 2.0}, wait=lambda tasks, timeout: (tasks[:1], tasks[1:]),
    )  # fmt: skip

    def options(**given: Any) -> SimpleNamespace:
        fake.given = given
        return SimpleNamespace(remote=lambda job, directory: f"task of {job.cell.name}")

    fake.remote = lambda function: SimpleNamespace(options=options)
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


@pytest.fixture
def job(tmp_path: Path) -> Job:
    plan = six_cells(tmp_path, "a-model", "some-data")
    return Job(tmp_path, plan.repetitions(plan.arms[0], {})[0], "test", "best", 1)


def test_ray_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs the package ray: pip install -e '\.\[ray\]'"):
        Ray(LaunchSettings())


def test_unknown_key_is_named() -> None:
    with pytest.raises(UserError, match=r"launch.ray has the key 'num_gpu'. Did you mean 'num_gpus'\?"):
        Ray(LaunchSettings(ray={"num_gpu": 1}))


@pytest.mark.parametrize("value", [-1, "one", True])
def test_number_of_another_kind_is_named(value: object) -> None:
    with pytest.raises(UserError, match=r"launch\.ray\.num_cpus should be a number of at least 0, got"):
        Ray(LaunchSettings(ray={"num_cpus": value}))


@pytest.mark.parametrize(
    ("launch", "slots"),
    [
        (LaunchSettings(), 2),  # a GPU a cell
        (LaunchSettings(ray={"num_gpus": 0.5}), 4),
        (LaunchSettings(ray={"num_gpus": 0}), 8),
        (LaunchSettings(threads=3, ray={"num_gpus": 0}), 2),
        (LaunchSettings(jobs=5), 5),
        (LaunchSettings(jobs=5, ray={"num_cpus": 64}), 5),  # the cluster may grow
    ],
)
def test_cells_at_a_time(cluster: SimpleNamespace, launch: LaunchSettings, slots: int) -> None:
    assert Ray(launch).free == slots


def test_cell_without_room_is_told(cluster: SimpleNamespace) -> None:
    with pytest.raises(UserError, match=r"sets num_gpus 4 for a cell, but the cluster has 2 in all; lower launch"):
        Ray(LaunchSettings(ray={"num_gpus": 4}))


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_cluster_that_does_not_answer_is_told(cluster: SimpleNamespace, form: str) -> None:
    cluster.is_initialized = lambda: False
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = form.format(closed.getsockname()[1])
        with pytest.raises(UserError, match=rf"cannot be reached at launch.ray.address '{address}': .*Connection refused"):
            Ray(LaunchSettings(ray={"address": address}))


def test_job_is_a_task_that_ray_does_not_repeat(cluster: SimpleNamespace, job: Job) -> None:
    executor = Ray(LaunchSettings(threads=2, ray={"num_gpus": 0.5}))
    executor.submit(job)
    assert cluster.given == {"num_cpus": 2, "num_gpus": 0.5, "max_retries": 0, "name": "full seed 0"}
    assert (executor.running, executor.free) == ([job.cell.name], 3)
    cluster.answer = FAILED
    assert executor.wait(0) == {job.cell.name: FAILED}
    assert (executor.running, executor.free) == ([], 4)


@pytest.mark.parametrize(("given", "device"), [(["1", "3"], "1,3"), ([], "")])
def test_cell_gets_the_gpus_of_its_task(
    cluster: SimpleNamespace, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: list[str], device: str
) -> None:
    monkeypatch.chdir(tmp_path)
    local = SimpleNamespace(submit=lambda job: submitted.append(job), wait=lambda seconds: {job.cell.name: DISK_FULL})
    submitted: list[Job] = []
    cluster.get_runtime_context = lambda: SimpleNamespace(get_accelerator_ids=lambda: {"GPU": given, "TPU": []})
    monkeypatch.setattr(launcher, "_local", lambda: local)
    (tmp_path / "where").mkdir()
    assert run_cell(job, str(tmp_path / "where")) == DISK_FULL
    assert [one.device for one in submitted] == [device]
    assert Path.cwd() == tmp_path / "where"


@pytest.mark.parametrize("error", ["WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"])
def test_worker_that_dies_is_a_death_of_its_cell(cluster: SimpleNamespace, job: Job, error: str) -> None:
    kind = getattr(ray.exceptions, error)
    cluster.answer = kind() if error == "WorkerCrashedError" else kind("gone")
    executor = Ray(LaunchSettings())
    executor.submit(job)
    code = executor.wait(0)[job.cell.name]
    assert code < 0
    assert code not in (DONE, FAILED, DISK_FULL, ALREADY_CLAIMED)


def test_task_that_fails_before_its_cell_is_told(cluster: SimpleNamespace, job: Job) -> None:
    cause = ModuleNotFoundError("No module named 'ftlit'")
    cluster.answer = ray.exceptions.RayTaskError("run_cell", "", cause, proctitle="ray", pid=1, ip="127.0.0.1")
    executor = Ray(LaunchSettings())
    executor.submit(job)
    with pytest.raises(UserError, match=r"could not run a cell: ModuleNotFoundError.*'ftlit'.*every node needs ftlit"):
        executor.wait(0)
