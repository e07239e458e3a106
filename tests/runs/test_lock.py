"""A run folder belongs to one process, which loses it when it dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftlit.errors import UserError
from ftlit.runs import lock as module
from ftlit.runs.files import LOCK
from ftlit.runs.folder import check_free
from ftlit.runs.lock import RunLock, check_not_in_use
from tests.support.command_line import ROOT

HOLD = "from pathlib import Path; from ftlit.runs.lock import RunLock; import sys, time\n"
HOLD += "RunLock(Path(sys.argv[1])).take(); print('taken', flush=True); time.sleep(60)"


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that has the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    return process


def test_another_process_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = holder(folder)
    for use in (RunLock(folder).take, lambda: check_not_in_use(folder), lambda: check_free(folder, False, True)):
        with pytest.raises(UserError, match=f"run is in use by the process {process.pid} on .*; wait until it has ended"):
            use()
    process.kill()
    process.wait()
    check_not_in_use(folder)
    with RunLock(folder) as lock:
        lock.take()
        assert (folder / LOCK).read_text().startswith(f"{os.getpid()} on ")
        with pytest.raises(UserError, match=f"in use by the process {os.getpid()} "):  # by another thread
            RunLock(folder).take()
    assert not (folder / LOCK).exists()


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path / "new") as lock:
        lock.take()
        lock.take()
        check_not_in_use(tmp_path / "new")  # it is ours
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path / "used") as lock:
        lock.take()
        (tmp_path / "used/file").touch()
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        lock.take()
        (tmp_path / LOCK).unlink()
        with RunLock(tmp_path) as other:
            other.take()


def test_a_worker_that_outlives_the_run_does_not_keep_its_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        lock.take()
        (reader, writer), (ready, begun) = os.pipe(), os.pipe()
        if not (child := os.fork()):
            os.close(writer)
            os.write(begun, b"!")
            os.read(reader, 1)  # until the parent closes its end
            os._exit(bool(module._held))
        os.read(ready, 1)
        os.close(lock._descriptor or 0)  # as a kill would do
        module._held.clear()
    with RunLock(tmp_path) as other:
        other.take()
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_file_systems_without_locks_are_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with RunLock(tmp_path / "run") as lock:
        lock.take()
        assert (tmp_path / "run").is_dir()
    assert "is on a file system without locks" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"run could not be written: permission denied"):
        RunLock(tmp_path / "run").take()
