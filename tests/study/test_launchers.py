"""The same study through processes here, a real Slurm and a real Ray, the latter two disturbed: the same results."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftlit.errors import UserError
from ftlit.study.plan.cells import Plan
from ftlit.study.running.launchers import launch
from ftlit.study.state.folder import Folder
from tests.support.study.launched import count, opened, results, six_cells
from tests.support.study.slurm_cluster import missing, slurm_cluster

pytestmark = pytest.mark.slow
Six = Callable[..., Plan]


@pytest.fixture(scope="module")
def six(tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory) -> Six:
    """Makes the study for a launcher."""
    return lambda **launch: six_cells(tmp_path_factory.mktemp("six"), tiny("bert"), sentiment, jobs=2, **launch)


@pytest.fixture(scope="module")
def undisturbed(six: Six) -> str:
    """results.csv of the study, run by processes here."""
    plan = six(launcher="local")
    folder = opened(plan)
    launch(plan, folder, Path("six.yaml"))
    assert count(folder, "finished") == 6
    return results(plan, folder)


@contextmanager
def disturbed(folder: Folder, *disturbances: Callable[[int], None]) -> Iterator[None]:
    """Inside, each of these gets the process of a cell that has just been started, a new cell for each."""

    def disturb() -> None:
        seen = 0
        for one in disturbances:
            while len(begun := [line for line in folder.history() if line["event"] == "started"]) <= seen:
                time.sleep(0.05)
            one(int(begun[-1]["by"].split(":")[1]))
            seen = len(begun)  # two cells may have started at once

    thread = threading.Thread(target=disturb, daemon=True)
    thread.start()
    yield
    thread.join(1)
    assert not thread.is_alive()


@pytest.mark.skipif(bool(missing()), reason=f"Slurm is not installed: {', '.join(missing())}")
def test_slurm(six: Six, undisturbed: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Workers run the study; one whose time is up in the middle of a cell is requeued."""
    plan = six(launcher="slurm")
    folder = opened(plan)

    def time_is_up(process: int) -> None:
        subprocess.run(["scancel", "--signal=USR2", "1_0"], check=True)

    with slurm_cluster():
        with disturbed(folder, time_is_up):
            progress = launch(plan, folder, Path("six.yaml"))
        assert progress.counts == {"done": 6}
        with pytest.raises(UserError, match=r"sbatch refused .*invalid partition"):
            launch(wrong := six(launcher="slurm", slurm={"slurm_partition": "nowhere"}), opened(wrong), Path("six.yaml"))
    assert results(plan, folder) == undisturbed
    assert count(folder, "finished") == 6
    assert "Requeued job 1_0" in (folder.path / "slurm" / "1_0_0_log.out").read_text()
    assert "submitted the Slurm job 1 with 2 workers" in capfd.readouterr().out


def test_ray(six: Six, undisturbed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks run the study; a cell is killed, and then a Ray worker with the cell that it runs."""
    ray = pytest.importorskip("ray")
    plan = six(launcher="ray", ray={"num_cpus": 1})
    folder = opened(plan)

    def kill_cell(process: int) -> None:
        os.kill(process, signal.SIGKILL)

    def kill_worker(process: int) -> None:
        os.kill(_parent(_parent(process)), signal.SIGKILL)  # between them is the process that cells are forked from

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with disturbed(folder, kill_cell, kill_worker):
            progress = launch(plan, folder, Path("six.yaml"))
        assert ray.is_initialized()  # it was not started by the launcher
    finally:
        ray.shutdown()
    assert progress.counts == {"done": 6}
    assert results(plan, folder) == undisturbed
    assert count(folder, "finished") == 6
    assert capsys.readouterr().out.count("(exit code -9): it continues from its last checkpoint") == 2


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
