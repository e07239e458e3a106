"""How many cells share a device, and what happens when its memory runs out."""

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlit.errors import UserError
from ftlit.study.plan.settings import LaunchSettings
from ftlit.study.running.launchers import local
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.launchers.sharing import CONTEXT_BYTES, Sharing, sharing
from ftlit.study.running.runner import Runner
from ftlit.study.running.worker import FAILED, OUT_OF_MEMORY, Job, _run
from ftlit.study.state.progress import Progress
from tests.support.study.launched import opened, six_cells

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores whose GPUs have 80 GiB."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("ftlit.study.running.launchers.sharing.free_memory", lambda device: 80 * GIB)


@pytest.mark.parametrize(
    ("settings", "devices", "places"),
    [
        ({}, [], 8),
        ({"threads": 4}, [], 2),
        ({"jobs": 3}, [], 3),
        ({}, ["0", "1"], 2),
        ({"per_device": 3}, ["0", "1"], 6),
        ({"jobs": 3}, ["0", "1"], 3),
        ({"jobs": 3, "per_device": 3}, ["0", "1"], 3),
        ({"per_device": "auto"}, ["0", "1"], 2),
    ],
)
def test_number_of_cells_at_a_time(settings: dict[str, Any], devices: list[str], places: int) -> None:
    shared, taken = sharing(LaunchSettings(**settings), devices), list[str | None]()
    while shared.free(taken):
        taken.append(shared.place(taken))
    assert len(taken) == places
    counts = [taken.count(device) for device in devices]
    assert not devices or max(counts) - min(counts) <= 1  # spread evenly


def test_as_many_as_memory_holds_once_cells_have_been_measured() -> None:
    said: list[str] = []
    shared = sharing(LaunchSettings(per_device="auto"), ["0"])
    shared.say = said.append
    shared.learn({"peak_memory_bytes": GIB})  # a run on a CPU says nothing about the GPU
    assert shared.free([]) == 1
    shared.learn({"peak_reserved_bytes": GIB})
    assert shared.free([]) == 8  # one for each core
    shared.learn({"peak_reserved_bytes": 24 * GIB - CONTEXT_BYTES})
    assert shared.free([]) == 3
    shared.learn({"peak_reserved_bytes": GIB})  # the largest one still counts
    assert shared.free(["0", "0"]) == 1
    assert said[-1] == "launch  3 at a time on each GPU from now on: the largest holds 23.4 GiB"


def test_memory_that_has_run_out_is_not_tried_again() -> None:
    shared = Sharing(3, ["0"], most=8, free_bytes=80 * GIB, say=str)
    shared.ran_out(3)
    shared.learn({"peak_reserved_bytes": GIB})
    assert shared.free([]) == 2
    shared.ran_out(1)  # the others had ended by then
    assert shared.free([]) == 1
    assert shared.free(["0", "0"]) == 0


def test_cells_that_ran_out_of_memory_run_again_with_fewer_beside_them(
    tmp_path: Path, tiny: Callable[[], str], sentiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    folder, tried = opened(plan), tmp_path / "tried"

    def work(job: Job) -> None:
        with tried.open("a") as file:
            file.write(f"{job.shared}\n")
        if not job.shared:
            folder.fail(job.cell.name, "it is too large for the device")
        sys.exit(OUT_OF_MEMORY if job.shared else FAILED)

    monkeypatch.setattr(local, "work", work)
    said: list[str] = []
    executor = Local(Sharing(2, say=said.append))
    executor.context = multiprocessing.get_context("fork")  # type: ignore[assignment]
    Runner(plan, folder, executor, said.append).run()
    assert Progress(plan, folder).counts == {"failed": 6}
    assert said[0] == "launch  1 at a time on this machine from now on: memory has run out"
    assert sum("too large for the device" in line for line in said) == 6
    assert sorted(tried.read_text().split()) == ["False"] * 6 + ["True"] * 2  # none is lost, and none is tried for ever


@pytest.mark.parametrize("shared", [True, False])
def test_a_cell_without_memory_has_failed_only_if_it_was_alone(
    shared: bool, tmp_path: Path, tiny: Callable[[], str], sentiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = six_cells(tmp_path, tiny(), sentiment)
    folder, cell = opened(plan), plan.repetitions(plan.arms[0], {})[0]

    def run(given: list[str]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ftlit.commands.cli.run", run)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    threads = torch.get_num_threads()
    code = _run(Job(folder.path, cell, "test", "none", threads=threads, shared=shared), folder)
    assert code == (OUT_OF_MEMORY if shared else FAILED)
    assert folder.error(cell.name) == (None if shared else "OutOfMemoryError: CUDA out of memory")


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(UserError, match=r"launch\.per_device should be at least 1, got 0"):
        LaunchSettings(per_device=0)
